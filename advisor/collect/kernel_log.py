"""Xid errors of NVIDIA GPUs in the kernel log, where it may be read.

Only lines with an Xid are kept: the log holds other people's business too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from advisor.collect.base import CHUNK, Facts, Parsed, Sample, read_optional
from advisor.derive.xid import Xid, foremost, xid

MARK = b"NVRM: Xid"
# A record: priority, sequence number, microseconds since boot, flags; then the text.
RECORD = re.compile(r"^\d+,\d+,(?P<us>\d+),")
DENIED = (
    "the kernel log may not be read, so GPU errors (Xid) are not seen; run as root, or allow it for all users "
    "with: sudo sysctl -w kernel.dmesg_restrict=0"
)
MOST = 50  # lines that are kept of each reading: one fault may repeat for hours


class KernelLog:
    """Records of /dev/kmsg since boot, and then what is new."""

    kind = "host"
    origin = "/dev/kmsg"
    pause_s = 10.0

    def __init__(self, device: str = "/dev/kmsg", proc: str = "/proc") -> None:
        self._device, self._proc = device, proc
        self._file: int | None = None

    def read(self) -> Sample:
        """New lines with an Xid, and the seconds since boot."""
        if self._file is None:
            try:
                self._file = os.open(self._device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except PermissionError:
                raise PermissionError(DENIED) from None
            except FileNotFoundError:
                raise FileNotFoundError("there is no kernel log here (a container does not see the host's)") from None
        lines = [line for line in self._records(self._file) if MARK in line]
        uptime = (read_optional(f"{self._proc}/uptime") or "0").split()[0]
        return {
            "xid": [line.decode("utf-8", "replace") for line in lines[-MOST:]],
            "uptime": float(uptime),
            "driver": os.path.isdir(f"{self._proc}/driver/nvidia"),
        }

    def _records(self, file: int) -> list[bytes]:
        records: list[bytes] = []
        while True:
            try:
                record = os.read(file, CHUNK)
            except BlockingIOError:
                return records
            except BrokenPipeError:
                continue  # the oldest records were overwritten; the next read goes on after the gap
            if not record:
                return records
            records += record.split(b"\n")[:1]

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """The code since boot that tells most, with the GPU and its age; how many came while we watched."""
        facts = Facts(self.origin)
        found = sorted(event for s in samples for line in s["xid"] if (event := _event(line)))
        began, now = samples[0]["uptime"], samples[-1]["uptime"]
        if found or samples[-1]["driver"]:
            facts.add("hw.gpu.xid.count", sum(at >= began for at, _ in found), "{event}")
        place = foremost([error.code for _, error in found])
        if place is not None:
            at, error = found[place]
            minutes = max(0.0, now - at) / 60
            facts.add("hw.gpu.xid.last", error.code, "{code}", f"{error.gpu}, {minutes:.0f} min ago")
        return facts.all(), {}


def _event(line: str) -> tuple[float, Xid] | None:
    """When an error came, seconds since boot, and which it is; None for other records."""
    record, error = RECORD.match(line), xid(line)
    return (int(record["us"]) / 1e6, error) if record and error else None
