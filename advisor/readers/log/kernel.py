"""The kernel log, as dmesg, journalctl, syslog, /dev/kmsg and pstore give it -> facts about health.

What counts is what the kernel says about performance or health; a normal boot gives zeros.
Zeros are told only of a log that is one: of single lines that somebody picked, what is not
among them is not known.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from advisor.derive.xid import Xid, foremost, xid
from advisor.models import Reading, Source
from advisor.readers.log import kernel_events as known
from advisor.readers.log.kernel_oom import Kills
from advisor.readers.log.log import Log
from advisor.readers.rows import Row, facts, row
from advisor.readers.told import Told

KIND = "kernel log"
LEAST_LINES = 10
SAMPLE = 1 << 18  # characters at either end of a text that tell what it is
LONGEST = 2000  # characters of a line; the kernel prints at most 1024
GPU_CLASSES, NIC_CLASSES, NVME_CLASSES = ("0300", "0302"), ("0200", "0207"), ("0108",)
WIDE = 8  # lanes that a card for networks or graphics can have, when it is one that matters
LINKS_LEFT_OUT = ("lo", "docker", "veth", "br-", "virbr", "tun", "tap", "cni", "cali", "flannel", "SATA", "wl")
REMAP_PENDING, REMAP_FAILED = 63, 64
NAMED = 4  # causes that a note names


def find(log: Log) -> list[Told]:
    """What the kernel says in a text; nothing when it says nothing that matters and the text is no kernel log."""
    seen = _Seen(log)
    for start in _lines(log.text):
        end = log.text.find("\n", start)
        seen.take(log.text[start : end if end >= 0 else len(log.text)][:LONGEST], start)
    said = facts(seen.rows(_whole(log.text)), log.origin)
    if not said:
        return []
    started, seconds = _window(log.text)
    reading = Reading(Source(KIND, log.origin, "ok", seen.note(seconds)), said)
    return [Told((reading,), (), started, seconds, log.origin.rsplit("/", 1)[-1])]


def _lines(text: str) -> list[int]:
    """Where the lines begin that may hold an event, in order, each once."""
    starts: set[int] = set()
    for word in known.WORDS:
        at = text.find(word)
        while at >= 0:
            starts.add(text.rfind("\n", 0, at) + 1)
            after = text.find("\n", at)
            at = text.find(word, after) if after >= 0 else -1
    return sorted(starts)


def _whole(text: str) -> bool:
    """Whether the text is a kernel log and not some lines of one, by its beginning and its end."""
    shown = text[:SAMPLE] + "\n" + text[SAMPLE:][-SAMPLE:]
    count = sum(1 for _ in known.LINE.finditer(shown))
    return count >= LEAST_LINES and count >= 0.5 * sum(1 for line in shown.split("\n") if line.strip())


@dataclass
class _Seen:
    """The events of a log so far."""

    log: Log
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)  # fact -> where its first event is
    xids: list[tuple[Xid, str, str]] = field(default_factory=list)  # error, where, line
    sxids: list[tuple[int, bool, str, str]] = field(default_factory=list)  # code, fatal, where, switch
    lost: dict[str, str] = field(default_factory=dict)  # GPU -> where
    kills: Kills = field(default_factory=Kills)
    throttled: tuple[int, str] = (0, "")
    up: set[str] = field(default_factory=set)
    classes: dict[str, tuple[str, str]] = field(default_factory=dict)  # device -> vendor and class
    narrow: dict[str, str] = field(default_factory=dict)
    named: str = ""

    @cached_property
    def booted(self) -> bool:
        """Whether the log begins with the boot, so that links that were up before would be seen."""
        return "Linux version " in self.log.text

    def take(self, line: str, at: int) -> None:
        """One line with an event."""
        where = self.log.where(at)
        for event, pattern in known.KINDS:
            if pattern.search(line):
                self._count(event.fact, where)
        self._gpu(line, where)
        self.kills.take(line, where)
        self._host(line, where)

    def _count(self, fact: str, where: str, count: int = 1) -> None:
        self.counts[fact] += count
        self.first.setdefault(fact, where)

    def _gpu(self, line: str, where: str) -> None:
        if error := xid(line):
            self.xids.append((error, where, line))
        if switch := known.SXID.search(line):
            self.sxids.append((int(switch["code"]), switch["fatal"] == "Fatal", where, switch["switch"]))
        if named := known.NAMED.search(line):
            self.named = named["gpu"]
        if "fallen off the bus" in line or "RmInitAdapter failed" in line:
            gpu = known.LOST.search(line)
            self.lost.setdefault(_slot(gpu["gpu"] if gpu else self.named), where)

    def _host(self, line: str, where: str) -> None:
        if known.OOPS.search(line):
            self._count("system.kernel.crashes", where)
        if (slow := known.THROTTLE.search(line)) and int(slow["total"]) > self.throttled[0]:
            self.throttled = int(slow["total"]), where
        if memory := known.EDAC.search(line):
            kind = "corrected" if memory["kind"] == "C" else "uncorrected"
            self._count(f"hw.memory.errors.{kind}", where, int(memory["count"]))
        if (link := known.LINK.search(line)) and not link["name"].startswith(LINKS_LEFT_OUT):
            self._link(link["name"], link["state"], where)
        if device := known.CLASS.search(line):
            self.classes[device["device"]] = device["vendor"], device["kind"]
        if (less := known.NARROW.search(line)) and self._matters(less) and int(less["got"]) < int(less["can"]):
            self.narrow.setdefault(less["device"], f"{less['device']} has {less['got']} of {less['can']} PCIe lanes")
            self.first.setdefault("hw.pcie.link.narrow.count", where)

    def _link(self, name: str, state: str, where: str) -> None:
        """A link that goes down after it was up; when the machine boots, those without a cable are down as well."""
        if state.lower() != "down":
            self.up.add(name)
        elif name in self.up or not self.booted:
            self.up.discard(name)
            self._count("system.network.link_downs", where)

    def _matters(self, less: re.Match[str]) -> bool:
        """Whether a device is a GPU, an adapter for fast networks or an NVMe disk, as far as the log tells."""
        kind = self.classes.get(less["device"], ("", ""))[1]
        if less.string.find("mlx5_core") >= 0 or kind in NIC_CLASSES + GPU_CLASSES:
            return int(less["can"]) >= WIDE
        return kind in NVME_CLASSES

    def rows(self, whole: bool) -> Iterator[Row]:
        """All facts; zeros only of a whole log."""
        for event in known.COUNTED:
            yield from self._counted(event.fact, event.unit, whole)
        for fact, unit in (
            ("system.kernel.crashes", "{event}"),
            ("system.network.link_downs", "{event}"),
            ("hw.memory.errors.corrected", "{error}"),
            ("hw.memory.errors.uncorrected", "{error}"),
        ):
            yield from self._counted(fact, unit, whole)
        yield from self.kills.rows(whole)
        yield from self._gpu_rows(whole)
        if self.throttled[0] or whole:
            yield row("system.cpu.throttle.events", self.throttled[0], "{event}", self.throttled[1] or None)
        if self.narrow or whole:
            where = self.first.get("hw.pcie.link.narrow.count")
            yield row("hw.pcie.link.narrow.count", len(self.narrow), "{device}", where)

    def _counted(self, fact: str, unit: str, whole: bool) -> Iterator[Row]:
        if self.counts[fact] or whole:
            yield row(fact, self.counts[fact], unit, self.first.get(fact))

    def _gpu_rows(self, whole: bool) -> Iterator[Row]:
        driven = whole and any(word in self.log.text for word in ("NVRM: ", "nvidia ", "nvidia-"))
        place = foremost([error.code for error, _, _ in self.xids])
        if place is not None:
            error, where, _ = self.xids[place]
            yield row("hw.gpu.xid.last", error.code, "{code}", where)
        elif driven:
            yield row("hw.gpu.xid.last", 0, "{code}")
        if self.xids or driven:
            yield row("hw.gpu.xid.count", len(self.xids), "{event}", self.xids[0][1] if self.xids else None)
        for code, fact in ((REMAP_PENDING, "hw.gpu.row_remap.pending"), (REMAP_FAILED, "hw.gpu.row_remap.failed")):
            told = [where for error, where, line in self.xids if error.code == code and _remapped(line)]
            yield row(fact, True if told else None, "{bool}", told[-1] if told else None)
        if self.lost or driven:
            yield row("hw.gpu.lost.count", len(self.lost), "{gpu}", next(iter(self.lost.values()), None))
        yield from self._switch_rows(whole)

    def _switch_rows(self, whole: bool) -> Iterator[Row]:
        if self.sxids or (whole and "nvswitch" in self.log.text):
            fatal = [where for _, bad, where, _ in self.sxids if bad]
            telling = [s for s in self.sxids if s[1]] or self.sxids
            code, where = (telling[-1][0], telling[-1][2]) if telling else (0, None)
            yield row("hw.nvswitch.sxid.last", code, "{code}", where)
            yield row("hw.nvswitch.sxid.count", len(self.sxids), "{event}", where)
            yield row("hw.nvswitch.sxid.fatal.count", len(fatal), "{event}", fatal[-1] if fatal else None)

    def note(self, seconds: float) -> str:
        """What it is, and what names and numbers the facts cannot hold."""
        errors = Counter((error.code, error.gpu) for error, _, _ in self.xids)
        switches = Counter((code, switch) for code, _, _, switch in self.sxids)
        told = [f"Xid {code} on {gpu} ({count}x)" for (code, gpu), count in errors.most_common(NAMED)]
        told += [f"SXid {code} on {switch} ({count}x)" for (code, switch), count in switches.most_common(NAMED)]
        told += self.kills.told()[:NAMED] + list(self.narrow.values())[:NAMED]
        if panic := known.PANIC.search(self.log.text):
            told.append(f"the kernel stopped: {panic['why'].strip()}")
        head = f"kernel log over {seconds:,.0f} s" if seconds else "lines of a kernel log"
        return "; ".join([head, *told, *filter(None, [self.log.note])])


def _remapped(line: str) -> bool:
    """Whether an error 63 or 64 is of rows; before Ampere the same codes told of pages."""
    return "Row Remapper" in line


def _slot(gpu: str) -> str:
    """A PCI address without its function and with a domain of four digits, so that spellings agree."""
    domain, _, rest = gpu.lower().split(".")[0].partition(":")
    return f"{domain[-4:]}:{rest}"


def _window(text: str) -> tuple[float | None, float]:
    """When the log begins, Unix seconds, where dates tell, and how long it is in seconds."""
    ends = [_ends(text, pattern) for pattern in (known.CTIME, known.DATE, known.UPTIME)]
    dated = next(([m for m in map(_moment, pair) if m] for pair in ends[:2] if pair), [])
    if dated:
        return dated[0], max(0.0, dated[-1] - dated[0])
    ticks = [float(m[1]) for m in ends[2]] or [float(m[1]) / 1e6 for m in _ends(text, known.RECORD)]
    return None, max(0.0, ticks[-1] - ticks[0]) if ticks else 0.0


def _ends(text: str, pattern: re.Pattern[str]) -> list[re.Match[str]]:
    """The first and the last place where a pattern is found; the last is looked for in the last 64 KiB."""
    first = pattern.search(text)
    if first is None:
        return []
    return [first, *list(pattern.finditer(text, max(first.start(), len(text) - (1 << 16))))[-1:]]


def _moment(match: re.Match[str]) -> float | None:
    """Unix seconds of a date; one without a zone is taken as UTC, which differences do not feel."""
    try:
        if match.re is known.CTIME:
            at = datetime.strptime(match[1], "%a %b %d %H:%M:%S %Y")
        else:
            at = datetime.fromisoformat(f"{match[1]}T{match[2]}.{(match[3] or '0')[:6]:0<6}{match[4] or ''}")
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
