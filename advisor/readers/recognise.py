"""What kind of artefact a file is, by its first bytes; a name is believed only where it says Python source.

A new kind is one line of `KINDS` and its reader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from advisor.errors import InputError
from advisor.readers.prometheus import looks_like_metrics
from advisor.readers.script.source import looks_like_python

HEAD = 1 << 16
DOCUMENT = "document"
# The first test that holds decides; what nobody claims is read as a document, whose reader says what is wrong.
KINDS: Sequence[tuple[str, Callable[[str], bool]]] = (("metrics", looks_like_metrics), ("script", looks_like_python))


def recognise(path: Path) -> str:
    """The kind of the artefact in a file: ``metrics``, ``script`` or ``document``.

    Raises:
        InputError: when the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD).decode("utf-8", "replace")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        known = "a profile, a diagnosis, a Python script or a saved metrics page"
        raise InputError(f"{path} cannot be read ({reason}); give the path of {known}") from None
    if path.suffix in (".py", ".pyw"):  # a script may be too short to tell
        return "script"
    return next((kind for kind, holds in KINDS if holds(head)), DOCUMENT)
