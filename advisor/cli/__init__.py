"""The commands. Thin: each calls the pipeline and prints what it returns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from advisor.errors import AdvisorError, KnowledgeError


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit with its status; an error a person can act on is one sentence on stderr."""
    from advisor.cli.options import parse

    try:
        options = parse(list(sys.argv[1:] if argv is None else argv))
        sys.exit(options.command_function(options))
    except KnowledgeError as error:
        _fail(str(error))
    except AdvisorError as error:
        _fail(f"advisor: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(0)


def _fail(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)
    sys.exit(2)
