"""What a person names (files, folders, archives) -> artefacts, and trees of artefacts that belong together.

An archive that holds other packed files is opened once; an archive inside an archive is not.
"""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from advisor.errors import InputError, TooLarge
from advisor.readers.artefact import CHUNK, MAX_EXPANDED, MAX_RATIO, RATIO_FROM, Artefact, Stream

MAX_FILES = 20_000
MAX_DEPTH = 12
STDIN = "-"
_TAR_MAGIC = slice(257, 262)


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of one folder or archive, by their names inside it."""

    origin: str
    files: Mapping[str, Artefact]


class Intake:
    """Everything that was named, while it is being read: unpacked archives are deleted when this closes."""

    def __init__(self) -> None:
        self._open = ExitStack()

    def __enter__(self) -> Intake:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def take(self, path: Path) -> Artefact | Tree:
        """The artefact or tree at `path`; ``-`` is the standard input (raises InputError)."""
        origin = str(path)
        if origin == STDIN:
            origin, path = "standard input", self._stdin()
        try:
            if path.is_dir():
                return _folder(path, str(path))
            if not path.exists():
                raise InputError(f"{path} is not there; give the path of a file or folder")
            if not path.is_file():
                raise InputError(f"{path} is not a file that ends; save what it gives to a file and give that")
            artefact = Artefact(origin, path, changed=path.stat().st_mtime)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); give the path of a file that can") from None
        if artefact.head.startswith(b"PK\x03\x04"):
            return _zip(path, artefact)
        if artefact.head[_TAR_MAGIC] == b"ustar":
            return self._tar(artefact)
        return artefact

    def _stdin(self) -> Path:
        """What comes on the standard input, in a file that lives as long as this intake."""
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="advisor-")))
        size = 0
        with (folder / "stdin").open("wb") as file:
            while part := sys.stdin.buffer.read(CHUNK):
                size += file.write(part)
                if size > MAX_EXPANDED:
                    raise TooLarge(f"standard input gives more than {MAX_EXPANDED >> 30} GiB; give a part of it")
        return folder / "stdin"

    def _tar(self, artefact: Artefact) -> Tree:
        """A tar archive, unpacked into a folder that lives as long as this intake."""
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="advisor-")))
        with artefact.open() as stream:
            try:
                _unpack(stream, folder, artefact.origin)
            except (tarfile.TarError, EOFError) as error:
                raise InputError(f"{artefact.origin} is a damaged tar archive ({error}); copy it again") from None
        return _folder(folder, artefact.origin, "!")


def _folder(folder: Path, origin: str, between: str = "/") -> Tree:
    files: dict[str, Artefact] = {}
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        files[name] = Artefact(f"{origin.rstrip('/')}{between}{name}", path, changed=path.stat().st_mtime)
        if len(files) > MAX_FILES:
            raise TooLarge(f"{origin} holds more than {MAX_FILES:,} files; give the folder of one run")
    if not files:
        raise InputError(f"{origin} is an empty folder; give one with traces, logs or metrics in it")
    return Tree(origin, files)


def _walk(folder: Path) -> Iterator[Path]:
    """Plain files, in order of their names; links are not followed, so that a tree ends."""
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f != ".git")
        if len(Path(at).relative_to(folder).parts) >= MAX_DEPTH:
            folders.clear()
        for name in sorted(names):
            path = Path(at, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _zip(path: Path, artefact: Artefact) -> Tree:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(f"{artefact.origin} is a damaged zip archive ({error}); copy it again") from None
    if len(infos) > MAX_FILES:
        raise TooLarge(f"{artefact.origin} holds more than {MAX_FILES:,} files; give the part that belongs to one run")
    ends = sorted((info.header_offset, info.compress_size) for info in infos)
    size = sum(info.file_size for info in infos)
    bomb = (
        any(start + length > following for (start, length), (following, _) in pairwise(ends))
        or size > MAX_EXPANDED
        or any(i.file_size > RATIO_FROM and i.file_size > MAX_RATIO * i.compress_size for i in infos)
    )
    if bomb:
        raise TooLarge(
            f"{artefact.origin} would expand to {size:,} bytes from {path.stat().st_size:,}, as archives do that are "
            "made to fill a disk; unpack it yourself if you trust it"
        )
    members = {i.filename: Artefact(f"{artefact.origin}!{i.filename}", path, i.filename) for i in infos}
    if not members:
        raise InputError(f"{artefact.origin} is an empty archive; give one with traces, logs or metrics in it")
    return Tree(artefact.origin, members)


class _Reader:
    """What `tarfile` wants of a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        parts: list[bytes] = []
        missing = size
        while missing and (part := self._stream.read(min(missing, CHUNK) if missing > 0 else CHUNK)):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def _unpack(stream: Stream, folder: Path, origin: str) -> None:
    """Write the plain files of a tar archive below `folder`; links, devices and ways out of it are left out."""
    count = 0
    with tarfile.open(fileobj=_Reader(stream), mode="r|") as archive:  # type: ignore[call-overload]
        for member in archive:
            parts = [part for part in member.name.split("/") if part not in ("", ".")]
            if not member.isreg() or ".." in parts or not parts:
                continue
            count += 1
            if count > MAX_FILES:
                raise TooLarge(f"{origin} holds more than {MAX_FILES:,} files; give the part that belongs to one run")
            inside = archive.extractfile(member)
            target = folder.joinpath(*(part[:200] for part in parts))
            if inside is None or target.is_dir():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                while part := inside.read(CHUNK):
                    file.write(part)


def total(items: Sequence[Artefact | Tree]) -> int:
    """Bytes on disk of everything that will be read."""
    return sum(sum(a.size for a in i.files.values()) if isinstance(i, Tree) else i.size for i in items)
