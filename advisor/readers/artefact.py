"""One artefact: bytes that a person has, from a file, an archive or a paste, unpacked while they are read.

Nothing is believed about what is inside: reading ends with one sentence when the data is
damaged, expands too much, or is too large. Memory stays bounded because bytes are streamed.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol

from advisor.errors import InputError, TooLarge

HEAD = 1 << 16
CHUNK = 1 << 20
# A profile of a few steps has at most some gigabytes; what is larger takes minutes and says nothing more.
MAX_EXPANDED = 8 << 30
# Traces shrink 10 to 60 times. Bombs made for deflate reach 1,000 times, those made for others more.
MAX_RATIO, RATIO_FROM = 250, 64 << 20
Tick = Callable[[int], None]  # is told how many more bytes, as they lie on disk, have been read


def no_tick(_: int) -> None:
    """For who does not want to know how far reading is."""


class Stream(Protocol):
    """What can be read once, from front to back."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end only."""
        ...


@dataclass(frozen=True)
class Artefact:
    """One file's worth of bytes. `origin` is how it is shown: a path, or ``archive.zip!member``.

    Args:
        origin: for messages and as the origin of facts.
        path: where it lies; None for a paste.
        member: its name inside the zip archive at `path`.
        data: the bytes of a paste.
        changed: when it was written last, Unix seconds; 0 when that is not known.
    """

    origin: str
    path: Path | None = None
    member: str | None = None
    data: bytes = field(default=b"", repr=False)
    changed: float = 0.0

    @property
    def name(self) -> str:
        """The last part of where it comes from, for subjects."""
        return self.origin.replace("!", "/").rsplit("/", 1)[-1] or self.origin

    @cached_property
    def size(self) -> int:
        """Bytes as they lie on disk."""
        if self.path is None:
            return len(self.data)
        if self.member is not None:
            with _sentences(self.origin), zipfile.ZipFile(self.path) as archive:
                return archive.getinfo(self.member).compress_size
        return self.path.stat().st_size if self.path.exists() else 0

    @cached_property
    def head(self) -> bytes:
        """The first 64 KiB, unpacked (raises InputError)."""
        with self.open() as stream:
            parts: list[bytes] = []
            missing = HEAD
            while missing and (part := stream.read(missing)):
                parts.append(part)
                missing -= len(part)
        return b"".join(parts)

    @cached_property
    def text_head(self) -> str:
        """`head` as text, whatever encoding it is in."""
        return decode(self.head)

    @contextmanager
    def open(self, tick: Tick = no_tick) -> Iterator[Stream]:
        """The unpacked bytes (raises InputError, also while they are read)."""
        with _sentences(self.origin), self._raw() as raw:
            counted = _Counted(raw, tick)
            first = counted.peek()
            unpack = next((make for magic, make in _PACKED.items() if first.startswith(magic)), None)
            if unpack is None:
                if self.member is None and self.size > MAX_EXPANDED:  # known before any of it is read
                    raise _too_large(self.origin)
                yield _Limited(counted, self.origin, lambda: 0)
                return
            with unpack(counted) as stream:
                yield _Limited(stream, self.origin, lambda: counted.done)

    def read(self, limit: int, tick: Tick = no_tick) -> bytes:
        """All bytes, unpacked.

        Raises:
            TooLarge: when there are more than `limit`.
            InputError: when they cannot be read.
        """
        parts: list[bytes] = []
        left = limit
        with self.open(tick) as stream:
            while part := stream.read(min(CHUNK, left + 1)):
                parts.append(part)
                left -= len(part)
                if left < 0:
                    raise TooLarge(
                        f"{self.origin} has more than {limit:,} bytes, the limit for this kind; give a part of it"
                    )
        return b"".join(parts)

    @contextmanager
    def as_file(self, tick: Tick = no_tick) -> Iterator[Path]:
        """A plain file with the unpacked bytes, for formats that are not read front to back (raises InputError)."""
        if self.path is not None and self.member is None and not self._packed():
            tick(self.size)
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="advisor-") as folder:
            spilled = Path(folder) / "artefact"
            with self.open(tick) as stream, spilled.open("wb") as file:
                while part := stream.read(CHUNK):
                    file.write(part)
            yield spilled

    def named(self, origin: str) -> Artefact:
        """The same bytes under another name."""
        return replace(self, origin=origin)

    def _packed(self) -> bool:
        with _sentences(self.origin), self._raw() as raw:
            return raw.read(6).startswith(tuple(_PACKED))

    def _raw(self) -> IO[bytes]:
        if self.path is None:
            return io.BytesIO(self.data)
        if self.member is None:
            return self.path.open("rb", buffering=0)
        return _member(self.path, self.member)


def decode(data: bytes) -> str:
    """Text from bytes in UTF-8 or, with its mark, UTF-16; what is neither shows as replacement characters."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


def is_binary(head: bytes) -> bool:
    """Whether bytes are not text: text of a program holds no NUL and hardly any control characters."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    sample = head[:8192]
    odd = sum(byte < 32 and byte not in b"\t\n\r\f\b\x1b" for byte in sample)
    undecoded = decode(sample).count("\ufffd")
    return b"\0" in sample or odd + undecoded > len(sample) // 20


def _too_large(origin: str) -> TooLarge:
    return TooLarge(
        f"{origin} has more than {MAX_EXPANDED >> 30} GiB (unpacked, if it is packed); profile fewer steps, "
        "or give a part of it"
    )


class _Counted(io.RawIOBase):
    """Bytes as they lie on disk, counted."""

    def __init__(self, raw: IO[bytes], tick: Tick) -> None:
        self._raw, self._tick = raw, tick
        self._ahead = b""
        self.done = 0

    def peek(self) -> bytes:
        """The first few bytes, which will be read again."""
        while len(self._ahead) < 8 and (more := self._raw.read(8 - len(self._ahead))):
            self._ahead += more
        return self._ahead

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        part = self.read(len(view))
        view[: len(part)] = part
        return len(part)

    def read(self, size: int = -1, /) -> bytes:
        if self._ahead:
            part, self._ahead = (self._ahead, b"") if size < 0 else (self._ahead[:size], self._ahead[size:])
            if size < 0:
                part += self._raw.read()
        else:
            part = self._raw.read(size) or b""
        self.done += len(part)
        self._tick(len(part))
        return part


class _Limited:
    """Unpacked bytes that end with a sentence when there are too many."""

    def __init__(self, stream: Stream, origin: str, packed: Callable[[], int]) -> None:
        self._stream, self._origin, self._packed = stream, origin, packed
        self._done = 0

    def read(self, size: int = -1, /) -> bytes:
        with _sentences(self._origin):
            part = self._stream.read(size)
        self._done += len(part)
        if self._done > MAX_EXPANDED:
            raise _too_large(self._origin)
        packed = self._packed()
        if packed and self._done > RATIO_FROM and self._done > MAX_RATIO * packed:
            raise TooLarge(
                f"{self._origin} expands more than {MAX_RATIO} times, as archives do that are made to fill a disk; "
                "unpack it yourself if you trust it"
            )
        return part


@contextmanager
def _sentences(origin: str) -> Iterator[None]:
    """Say in one sentence what is wrong with packed or unreadable data."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{origin} is not there; give the path of a file or folder") from None
    except (zlib.error, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{origin} is packed, and the data is damaged or cut off ({error}); copy it again") from None
    except NotImplementedError as error:  # what zipfile says of methods such as Deflate64
        raise InputError(f"{origin} is packed in a way that cannot be read here ({error}); pack it as gzip") from None
    except OSError as error:
        if error.errno is None:  # bz2 has no error of its own for damaged data
            raise InputError(
                f"{origin} is packed, and the data is damaged or cut off ({error}); copy it again"
            ) from None
        raise InputError(f"{origin} cannot be read ({error.strerror}); give the path of a file that can") from None
    except RuntimeError as error:  # what zipfile says of encrypted members
        raise InputError(f"{origin} cannot be unpacked ({error}); unpack it and give what was in it") from None


def _member(path: Path, member: str) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    try:
        return archive.open(member)
    finally:
        archive.close()  # the open member keeps the file


def _gzip(raw: io.RawIOBase) -> Any:
    return gzip.GzipFile(fileobj=io.BufferedReader(raw, CHUNK))


class _Zstd:
    """Frames of zstd, one after the other, with errors of the kind that the others raise.

    The library's own reader ends silently where a frame is cut off.
    """

    PART = 4096  # few: 4 bytes may unpack to 128 KiB

    def __init__(self, raw: Stream) -> None:
        self._raw = raw
        self._frame: Any = None
        self._ready = bytearray()

    def __enter__(self) -> _Zstd:
        return self

    def __exit__(self, *_: object) -> None:
        self._ready.clear()

    def read(self, size: int = -1, /) -> bytes:
        while size < 0 or len(self._ready) < size:
            part = self._raw.read(self.PART)
            if not part:
                if self._frame is not None:
                    raise EOFError("the last frame has no end")
                break
            self._unpack(part)
        end = len(self._ready) if size < 0 else size
        taken = bytes(self._ready[:end])
        del self._ready[:end]
        return taken

    def _unpack(self, part: bytes) -> None:
        import zstandard

        while part:
            if self._frame is None:  # a window of more memory than that is asked for by bombs
                self._frame = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            try:
                self._ready += self._frame.decompress(part)
            except zstandard.ZstdError as error:
                raise EOFError(str(error)) from None
            if not self._frame.eof:
                return
            part, self._frame = self._frame.unused_data, None


_PACKED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": _gzip,
    b"\x28\xb5\x2f\xfd": _Zstd,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
