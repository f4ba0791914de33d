"""What every command needs: the advisor, and printing what it returns.

stdout carries what was asked for (a diagnosis, an answer, JSON); progress, warnings and errors go to stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from advisor.errors import AdvisorError, InputError
from advisor.models import Lang

if TYPE_CHECKING:
    from advisor.blocks import Block
    from advisor.models import Diagnosis
    from advisor.pipeline import Advisor

Options = argparse.Namespace


def open_advisor() -> Advisor:
    """The default knowledge base and store."""
    from advisor.pipeline import Advisor

    return Advisor()


def keep(advisor: Advisor, diagnosis: Diagnosis, state: Literal["running", "done"]) -> None:
    """Store a diagnosis; a store that cannot be written costs a warning, not the run."""
    try:
        advisor.save(diagnosis, state)
    except AdvisorError as error:
        print(f"advisor: not stored: {error}", file=sys.stderr)


def show(advisor: Advisor, diagnosis: Diagnosis, lang: Lang, stream: IO[str]) -> None:
    """Print a diagnosis for a person."""
    from advisor.blocks import diagnosis_blocks

    print_page(diagnosis_blocks(diagnosis, advisor.knowledge, lang), stream)


def print_page(blocks: Sequence[Block], stream: IO[str]) -> None:
    """Print blocks for a person."""
    from advisor.report.terminal import print_blocks

    print_blocks(blocks, stream)


def print_json(document: object) -> None:
    """Print a document for a program."""
    print(json.dumps(document, ensure_ascii=False, indent=2))


def write_file(path: Path, text: str) -> None:
    """Write a file that the person named; raises InputError where that is not possible."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another path") from None
