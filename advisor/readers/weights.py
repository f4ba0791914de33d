"""Weights of models and checkpoints: they are known by their first bytes, and say nothing about speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.intake import Tree
from advisor.readers.told import Told

_NAMES = {
    b"GGUF": "a GGUF model",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF\r\n": "an HDF5 file",
    b"PAR1": "a Parquet file",
}
# A checkpoint of PyTorch up to 1.5 begins with the pickle of this number.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_NEXT = "give a trace, a log, a profile or a memory snapshot of the run"


def holds(artefact: Artefact) -> bool:
    """Whether a file holds weights or an array."""
    return bool(_name(artefact.head))


def root(files: Mapping[str, Artefact]) -> str | None:
    """Where the members of a PyTorch checkpoint begin in an archive, None when it is none."""
    found = next((name for name in files if name == "data.pkl" or name.endswith("/data.pkl")), None)
    if found is None:
        return None
    begin = found[: -len("data.pkl")]
    return (
        begin
        if any(name.startswith((f"{begin}data/", f"{begin}version", f"{begin}byteorder")) for name in files)
        else None
    )


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """Never returns.

    Raises:
        InputError: saying what the file is.
    """
    del tick
    first = artefacts[0]
    raise InputError(f"{first.origin} is {_name(first.head)}, which says nothing about speed; {_NEXT}")


def read_tree(tree: Tree, tick: Tick) -> list[Told]:
    """Never returns.

    Raises:
        InputError: saying what the archive is.
    """
    del tick
    raise InputError(f"{tree.origin} is a PyTorch checkpoint, which says nothing about speed; {_NEXT}")


def _name(head: bytes) -> str:
    if head.startswith(_LEGACY):
        return "a PyTorch checkpoint"
    if head[8:10] == b'{"' and head[3:8] == b"\0" * 5 and int.from_bytes(head[:8], "little") >= 2:
        return "a safetensors file"
    return next((name for magic, name in _NAMES.items() if head.startswith(magic)), "")
