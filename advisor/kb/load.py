"""The knowledge base, ready to use: from its pack when there is one, else built from its files."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from advisor.errors import InputError, KnowledgeError
from advisor.kb import pack
from advisor.models import Knowledge

OWN = "ADVISOR_KNOWLEDGE"
SHIPPED = Path(str(files("advisor"))) / "_data"  # exists in an installed wheel only


def default_folder() -> Path:
    """The folder that ``ADVISOR_KNOWLEDGE`` names, else that of an installed wheel, else the one beside the package."""
    own = os.environ.get(OWN)
    if own:
        if not Path(own).is_dir():
            raise InputError(f"{OWN} is {own}, which is not a folder; give the one that holds facts.yaml and rules/")
        return Path(own)
    packaged = SHIPPED / "knowledge"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "knowledge"


def load(folder: Path | None = None) -> Knowledge:
    """The knowledge base in `folder` (default: the one that comes with advisor).

    Raises:
        KnowledgeError: with every structural problem as ``file:line: what, what next``.
            References between entries and the cases are proven by `gate.check`.
    """
    folder = folder or default_folder()
    if folder == SHIPPED / "knowledge" and (shipped := pack.read(SHIPPED / "knowledge.pack")) is not None:
        return shipped
    path = pack.cached(folder)
    packed = pack.read(path)
    if packed is None:
        packed = build(folder)
        pack.keep(path, packed)
    return packed


def build(folder: Path) -> Knowledge:
    """The knowledge base made from the YAML files in `folder`; raises `KnowledgeError` like `load`."""
    from advisor.kb.build import Loader  # YAML and pydantic cost more than all else that a question needs

    with pack.unhindered():
        loader = Loader(folder)
        knowledge = loader.knowledge()
    if loader.problems:
        raise KnowledgeError(loader.problems)
    return knowledge
