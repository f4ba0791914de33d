"""A loaded knowledge base kept as one file, so that a command does not parse and validate 250 files each time.

A wheel ships its pack beside the knowledge files. For any other folder the pack lives in the
user's cache; losing it costs time only. It is named after path, size and times of
every knowledge file and of the code that reads them, so that an edit gives another name. A pack is
read with an unpickler that knows the frozen dataclasses of `models` and nothing else: a foreign
file cannot run code.
"""

from __future__ import annotations

import gc
import hashlib
import io
import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from advisor import models
from advisor.models import Knowledge

KEPT = 4  # packs of other versions and folders that stay beside the newest


def cached(folder: Path) -> Path:
    """Where the pack of a knowledge folder, as it is now, belongs in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    cache = Path(base) if base else Path.home() / ".cache"
    package = Path(__file__).parents[1]
    state = hashlib.sha256()
    for root in (folder, package / "models", package / "kb"):
        for path, stat in sorted(_files(os.fspath(root))):
            # the time of the last change of the inode cannot be set by hand: no copy or editor keeps it
            state.update(f"{path}\0{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\0".encode())
    return cache / "advisor" / f"knowledge-{state.hexdigest()[:16]}.pack"


def _files(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(entry.path)
            elif entry.name.endswith((".yaml", ".py", ".bin")):
                yield entry.path, entry.stat()


def read(path: Path) -> Knowledge | None:
    """The knowledge base packed in `path`, or None when there is none that can be used."""
    try:
        with unhindered():
            knowledge = _Unpickler(io.BytesIO(path.read_bytes())).load()
    except Exception:  # a missing, damaged or foreign pack is simply not used
        return None
    return knowledge if isinstance(knowledge, Knowledge) else None


def write(path: Path, knowledge: Knowledge) -> None:
    """Write a pack, whole or not at all; raises OSError where that is not possible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(pickle.dumps(knowledge, pickle.HIGHEST_PROTOCOL))
    os.replace(file.name, path)


def keep(path: Path, knowledge: Knowledge) -> None:
    """Write a pack to the cache and clear old ones away; where it cannot be written, nothing happens."""
    with suppress(OSError):
        write(path, knowledge)
        packs = sorted(path.parent.glob("knowledge-*.pack"), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in packs[KEPT:]:
            old.unlink(missing_ok=True)


@contextmanager
def unhindered() -> Iterator[None]:
    """Build many objects that all stay: looking for garbage among them, now or later, would only cost time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


class _Unpickler(pickle.Unpickler):
    """Knows the classes of `advisor.models` only."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("advisor.models.") and name in models.__all__:
            return getattr(models, name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong in a pack")
