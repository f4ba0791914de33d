"""From a command line to the script it starts, and from a script to the files it imports from beside it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from advisor.errors import InputError
from advisor.readers.script.source import Module, parse

MAX_FILES = 50
MAX_BYTES = 2 * 1024 * 1024
_PYTHON = re.compile(r"(python|pypy)[\d.]*(\.exe)?$")
_LAUNCHERS = ("torchrun", "accelerate", "deepspeed", "composer", "colossalai", "fabric", "lightning")
# ``python -m`` of these starts another script.
_LAUNCH_MODULES = ("torch.distributed", "accelerate.", "deepspeed", "composer.", "lightning.", "cProfile", "pdb")
_TAKES_VALUE = ("-X", "-W", "--check-hash-based-pycs")
_SHOWN_FILES = 3


@dataclass(frozen=True)
class Started:
    """The file a command starts, where its imports are found, and the arguments it gets."""

    script: Path
    root: Path
    arguments: tuple[str, ...]


def locate(command: Sequence[str], folder: Path) -> Started | None:
    """The Python script that `command` starts when run in `folder`; None when it starts none that can be found."""
    for place, word in enumerate(command):
        name, rest = os.path.basename(word), list(command[place + 1 :])
        if _PYTHON.fullmatch(name):
            return _python(rest, folder)
        if name in _LAUNCHERS:
            return _launched(rest, folder)
        if place == 0 and word.endswith(".py"):
            return _file(word, rest, folder)
    return None


def _python(words: list[str], folder: Path) -> Started | None:
    while words:
        word = words.pop(0)
        if word == "-m" and words:
            module = words.pop(0)
            return _launched(words, folder) if module.startswith(_LAUNCH_MODULES) else _module(module, words, folder)
        if word in ("-c", "-"):
            return None
        if word in _TAKES_VALUE:
            words = words[1:]
        elif not word.startswith("-"):
            return _file(word, words, folder)
    return None


def _launched(words: list[str], folder: Path) -> Started | None:
    """The first word that names a Python file or, after -m, a module: launchers put their own options before it."""
    for place, word in enumerate(words):
        rest = words[place + 1 :]
        if word in ("-m", "--module") and rest and (found := _module(rest[0], rest[1:], folder)):
            return found
        if word.endswith(".py") and (found := _file(word, rest, folder)):
            return found
    return None


def _file(word: str, rest: list[str], folder: Path) -> Started | None:
    path = folder / word
    path = path / "__main__.py" if path.is_dir() else path
    return Started(path, path.parent, tuple(rest)) if path.is_file() else None


def _module(name: str, rest: list[str], folder: Path) -> Started | None:
    base = folder.joinpath(*name.split("."))
    for path in (base.with_name(base.name + ".py"), base / "__main__.py"):
        if path.is_file():
            return Started(path, folder, tuple(rest))
    return None


def load(started: Started, folder: Path) -> tuple[list[Module], str]:
    """The script and what it imports from its own folder or package, breadth first, with a note on what was left out.

    Raises:
        InputError: when the script itself cannot be read.
    """
    read = _Reader(folder)
    modules = [read.module(started.script)]
    left_out: list[str] = []
    known = {started.script.resolve()}
    waiting = [modules[0]]
    while waiting:
        current = waiting.pop(0)
        for path in _imported(current, started.root):
            real = path.resolve()
            if real in known:
                continue
            known.add(real)
            if len(modules) == MAX_FILES:
                left_out.append(f"{read.shown(path)} is beyond the first {MAX_FILES} files")
                continue
            try:
                module = read.module(path)
            except InputError as error:
                left_out.append(str(error))
                continue
            modules.append(module)
            waiting.append(module)
    more = f" and {len(left_out) - _SHOWN_FILES} more" if len(left_out) > _SHOWN_FILES else ""
    return modules, f"Left out: {'; '.join(left_out[:_SHOWN_FILES])}{more}." if left_out else ""


class _Reader:
    """Reads files up to `MAX_BYTES` in all."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._left = folder.resolve(), MAX_BYTES

    def shown(self, path: Path) -> str:
        """The path relative to the working directory when it is inside."""
        real = Path(os.path.abspath(path))
        return str(real.relative_to(self._folder)) if real.is_relative_to(self._folder) else str(real)

    def module(self, path: Path) -> Module:
        shown = self.shown(path)
        try:
            if not path.is_file():
                raise InputError(f"{shown} is not a file; give the path of a Python script")
            size = path.stat().st_size
            if size > self._left:
                raise InputError(f"{shown} has {size:,} bytes, and scripts are read up to {MAX_BYTES:,} bytes in all")
            self._left -= size
            return parse(path, shown, path.read_bytes())
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"{shown} cannot be read ({reason}); give the path of a Python script") from None


def _imported(module: Module, root: Path) -> list[Path]:
    """Files under the root (or beside the module, for relative imports) that a module imports."""
    found: list[Path] = []
    for node in module.walk():
        if isinstance(node, ast.Import):
            for alias in node.names:
                found += _candidates(root, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = root
            if node.level:
                base = module.path.parent
                for _ in range(node.level - 1):
                    base = base.parent
            found += _candidates(base, node.module or "")
            found += [p for a in node.names for p in _candidates(base, f"{node.module or ''}.{a.name}".strip("."))]
    return list(dict.fromkeys(found))


def _candidates(base: Path, name: str) -> list[Path]:
    if not name or "\0" in name:
        return []
    target = base.joinpath(*name.split("."))
    try:
        return [p for p in (target.with_name(target.name + ".py"), target / "__init__.py") if p.is_file()]
    except (OSError, ValueError):  # a name that no file can have
        return []
