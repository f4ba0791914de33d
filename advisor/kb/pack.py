"""A loaded knowledge base kept on disk, so that a command does not parse and validate 60 files each time.

The pack is named after the content of every knowledge file and of the code that reads them:
a changed byte gives another name, so a pack is never stale. It lives in the user's
cache folder; losing it costs time only. It is read with an unpickler that knows the frozen
dataclasses of `models` and nothing else, so that a foreign file cannot run code.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from advisor import models
from advisor.models import Knowledge

KEPT = 4  # packs of other versions and folders that stay beside the newest


def digest(folder: Path) -> str:
    """The content of a knowledge folder in 16 hexadecimal digits."""
    return _digest(folder, "*.yaml")


def name(folder: Path) -> str:
    """The name of the pack of a knowledge folder."""
    package = Path(__file__).parents[1]
    return f"{digest(folder)}-{_digest(package / 'models', '*.py')}-{_digest(package / 'kb', '*.py')}"


def _digest(folder: Path, pattern: str) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.rglob(pattern)):
        found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def read(pack: str) -> Knowledge | None:
    """The knowledge base packed under the name `pack`, or None when there is none that can be used."""
    try:
        knowledge = _Unpickler(io.BytesIO(_path(pack).read_bytes())).load()
    except Exception:  # a missing, damaged or foreign pack is simply not used
        return None
    return knowledge if isinstance(knowledge, Knowledge) else None


def write(pack: str, knowledge: Knowledge) -> None:
    """Pack `knowledge`; where the cache folder cannot be written, nothing happens."""
    path = _path(pack)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(pickle.dumps(knowledge, pickle.HIGHEST_PROTOCOL))
        os.replace(file.name, path)
        packs = sorted(path.parent.glob("knowledge-*.pack"), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in packs[KEPT:]:
            old.unlink(missing_ok=True)


def _path(pack: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "advisor"
    return folder / f"knowledge-{pack}.pack"


class _Unpickler(pickle.Unpickler):
    """Knows the classes of `advisor.models` only."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("advisor.models.") and name in models.__all__:
            return getattr(models, name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong in a pack")
