"""How fast the user's storage can be read: in order, and in small pieces at random places.

Existing files are only read. Without any, a file in the working directory is written, unlinked before its first
byte, so that nothing is left however the probe ends. Reads go past the page cache (O_DIRECT) where the file
system allows it; elsewhere the cached pages are dropped first, and the note says so.
"""

from __future__ import annotations

import errno
import mmap
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from advisor.collect.base import Facts, Parsed, Sample, percentile, read_optional
from advisor.collect.disk import mount_of
from advisor.collect.probe.budget import DEFAULT, MIB, Budget, Refused, need_memory, need_space

Target = tuple[str, int]  # a path to open, and its size in bytes
READERS = 4  # requests in flight: one reader alone does not fill a fast device
PAGE = 4096
SMALL = tuple(PAGE << i for i in range(6))  # 4 to 128 KiB, the sizes of samples
FILES = 20_000
HELD_OPEN = 64  # of more files each read opens its own, as a loader of single files does
LEAST_READS = 100  # for a 99th percentile
PATIENCE = 5.0  # seconds that a read under way may still take


class DiskProbe:
    """Read rate, and rate and latency of small random reads, of `data` or of a file made here."""

    kind = "disk probe"
    origin = "disk probe"
    once = True

    def __init__(self, data: Path | None = None, budget: Budget = DEFAULT) -> None:
        self._data, self._budget = data, budget

    def plan(self) -> str:
        """What it is about to do, for a person."""
        size, seconds = self._budget.size // MIB, self._budget.seconds
        if self._data is not None:
            return f"reads up to {size} MiB of {self._data}, at most {seconds:g} s, and writes nothing"
        return f"writes and reads a temporary file of up to {size // 2} MiB in {Path.cwd()}, at most {seconds:g} s"

    def read(self) -> Sample:
        """Bytes and seconds of the reads in order; the latencies of the random ones."""
        began = time.monotonic()
        need_memory(READERS * MIB)
        if self._data is not None:
            sample = self._measure(existing(self._data), str(self._data))
            sample["written"] = 0
        else:
            folder = Path.cwd()
            size = self._budget.size // 2
            need_space(folder, size)
            with tempfile.TemporaryFile(dir=folder, prefix=".advisor-probe-") as file:
                written = _fill(file.fileno(), size, began + 0.3 * self._budget.seconds)
                sample = self._measure([(f"/proc/self/fd/{file.fileno()}", written)], str(folder))
            sample["written"] = written
        sample["seconds"] = time.monotonic() - began
        sample["note"] = _note(sample)
        return sample

    def _measure(self, targets: Sequence[Target], where: str) -> Sample:
        total = sum(size for _, size in targets)
        if total < MIB:
            raise Refused(f"{where} holds {total} bytes, too few to measure its storage; give files of 1 MiB or more")
        started, reader = time.monotonic(), _Reader()
        reader.run(_in_order(targets, self._budget.size // 2), READERS, started + 0.35 * self._budget.seconds)
        ordered = [reader.bytes, time.monotonic() - started]
        if not ordered[0]:
            raise reader.error or TimeoutError(f"{where} gave no data within {ordered[1]:.0f} s")
        small = _Reader(keep_open=len(targets) <= HELD_OPEN)
        small.run(_at_random(targets, self._budget.size // 2), 1, time.monotonic() + 0.3 * self._budget.seconds)
        mounts = read_optional("/proc/self/mountinfo") or ""
        return {
            "where": where,
            "type": mount_of(mounts, os.path.realpath(where))[1],
            "files": len(targets),
            "ordered": ordered,
            "latencies": small.latencies,
            "small_bytes": small.bytes,
            "direct": reader.direct and small.direct,
        }

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Rates of one probe."""
        facts = Facts(self.origin)
        sample = samples[-1]
        count, seconds = sample["ordered"]
        latencies, where = sample["latencies"], sample["where"]
        facts.add("probe.disk.read.rate", count / seconds, "By/s", where)
        if latencies:
            facts.add("probe.disk.random_read.ops", len(latencies) / sum(latencies), "{operation}/s", where)
        if len(latencies) >= LEAST_READS:
            facts.add("probe.disk.read.latency.p99", percentile(latencies, 0.99), "s", where)
        return facts.all(), {}


def existing(path: Path) -> list[Target]:
    """The readable files at or below `path`, largest first; looks at no more than `FILES` of them."""
    if path.is_file():
        return [(str(path), path.stat().st_size)]
    if not path.is_dir():
        raise Refused(f"{path} is no file or folder; --data wants the path that training reads")
    found: list[Target] = []
    for folder, _, names in os.walk(path):
        for name in names:
            file = os.path.join(folder, name)
            with suppress(OSError):
                if os.path.isfile(file) and os.access(file, os.R_OK):
                    found.append((file, os.stat(file).st_size))
        if len(found) >= FILES:
            break
    if not found:
        raise Refused(f"{path} holds no file that this user can read; --data wants the path that training reads")
    return sorted(found, key=lambda target: -target[1])


def _fill(file: int, size: int, deadline: float) -> int:
    """Write up to `size` bytes that cannot be compressed, to the device; a slow one gets less."""
    written = 0
    while written < size and (written < 8 * MIB or time.monotonic() < deadline):
        for _ in range(8):
            written += os.write(file, os.urandom(MIB))
        os.fsync(file)
    return written


def _in_order(targets: Sequence[Target], most: int) -> Iterator[tuple[str, int, int]]:
    """Whole files in pieces of 1 MiB: path, offset, length."""
    given = 0
    for path, size in targets:
        for offset in range(0, size, MIB):
            yield path, offset, MIB
            given += min(MIB, size - offset)
            if given >= most:
                return


def _at_random(targets: Sequence[Target], most: int) -> Iterator[tuple[str, int, int]]:
    """Small reads anywhere in the files, the larger files more often."""
    chance, given = random.Random(0), 0
    weights = [size for _, size in targets]
    while given < most:
        for path, size in chance.choices(targets, weights, k=64):
            length = chance.choice(SMALL)
            yield path, chance.randrange(max(1, -(-(size - length) // PAGE))) * PAGE, length
            given += length


class _Reader:
    """Threads that read pieces until a deadline, so that storage that hangs leaves only a thread behind."""

    def __init__(self, *, keep_open: bool = True) -> None:
        self.bytes = 0
        self.latencies: list[float] = []
        self.direct = True
        self.error: OSError | None = None
        self._keep_open = keep_open
        self._lock = threading.Lock()
        self._stop = False

    def run(self, pieces: Iterator[tuple[str, int, int]], threads: int, deadline: float) -> None:
        """Read `pieces` with so many threads; ends at the deadline, or when the pieces are read."""
        workers = [threading.Thread(target=self._work, args=(pieces, deadline), daemon=True) for _ in range(threads)]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.join(max(0.0, deadline + PATIENCE - time.monotonic()))
        finally:
            self._stop = True

    def _work(self, pieces: Iterator[tuple[str, int, int]], deadline: float) -> None:
        opened: dict[str, int] = {}
        try:
            with mmap.mmap(-1, MIB) as buffer:  # page-aligned, as O_DIRECT wants it
                while not self._stop and time.monotonic() < deadline:
                    with self._lock:
                        piece = next(pieces, None)
                    if piece is None:
                        return
                    self._one(*piece, opened, buffer)
        except OSError as error:
            self.error = error
        finally:
            for file in opened.values():
                os.close(file)

    def _one(self, path: str, offset: int, length: int, opened: dict[str, int], buffer: mmap.mmap) -> None:
        began = time.perf_counter()
        if path not in opened:
            if opened and (not self._keep_open or length == MIB):
                os.close(opened.pop(next(iter(opened))))
            opened[path] = self._open(path)
        with memoryview(buffer)[:length] as view:
            count = os.preadv(opened[path], [view], offset)
        with self._lock:
            self.bytes += count
            self.latencies.append(time.perf_counter() - began)

    def _open(self, path: str) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        self.direct = False
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        return file


def _note(sample: Sample) -> str:
    count, _ = sample["ordered"]
    said = f"took {sample['seconds']:.1f} s; read {(count + sample['small_bytes']) / MIB:.0f} MiB"
    if sample["written"]:
        said += f" of a temporary file of {sample['written'] / MIB:.0f} MiB, removed again,"
    said += f" in {sample['where']} ({sample['type']})"
    if sample["type"] in ("tmpfs", "ramfs"):
        return f"{said}; that is memory, not storage"
    return said if sample["direct"] else f"{said}; it refuses direct reads, so the page cache may have helped"
