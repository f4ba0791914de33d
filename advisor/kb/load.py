"""The knowledge base, ready to use: from its pack when there is one, else built from its files."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from advisor.errors import KnowledgeError
from advisor.kb import pack
from advisor.models import Knowledge


def default_folder() -> Path:
    """The knowledge folder inside an installed wheel, else the one beside the package."""
    packaged = Path(str(files("advisor"))) / "_data" / "knowledge"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "knowledge"


def load(folder: Path | None = None) -> Knowledge:
    """The knowledge base in `folder` (default: the one that comes with advisor).

    Raises:
        KnowledgeError: with every structural problem as ``file:line: what, what next``.
            References between entries and the cases are proven by `gate.check`.
    """
    folder = folder or default_folder()
    name = pack.name(folder)
    packed = pack.read(name)
    if packed is not None:
        return packed
    from advisor.kb.build import Loader  # YAML and pydantic cost more than all else that a question needs

    loader = Loader(folder)
    knowledge = loader.knowledge()
    if loader.problems:
        raise KnowledgeError(loader.problems)
    pack.write(name, knowledge)
    return knowledge
