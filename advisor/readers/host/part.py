"""One command's output, or one file, inside a text: where it begins, what was typed, and its numbers.

A paste may hold prompts, Markdown quoting, labels of ranks and several commands in a row.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from advisor.readers.log.log import ENDS, Log

COMMANDS = (
    "cat|grep|head|tail|top|htop|free|vmstat|iostat|mpstat|sar|pidstat|df|lscpu|numactl|uptime|w|ulimit|lsblk|mount|"
    "nfsstat|nfsiostat|ethtool|ibstat|ibstatus|ibv_devinfo|ss|ps|dmesg|journalctl|lspci|nvidia-smi|ip|uname|date|nproc|"
    "mdadm|watch|numastat|kubectl|docker|srun|ls|find|cd|python|python3|export|echo"
)
PROMPT = re.compile(rf"^[^\n]{{0,100}}?[$#%>❯] {{0,4}}(?:sudo )?(?P<command>(?:/\w+)*/?(?:{COMMANDS})(?: [^\n]*)?)$")
MARKS = frozenset("$#%>❯")  # ends of prompts
HEADING = re.compile(r"^==> (?P<command>\S[^\n]{0,300}) <==$")
# What may stand in front of every line of a paste; believed when nearly all lines have it.
LABELS = (
    re.compile(r"^ {0,3}(?:> ?){1,5}"),
    re.compile(r"^\[(?:rank ?)?\d{1,6}\](?:<stdout>)?:? ?|^\[\d{1,6},\d{1,6}\]<\w{3,6}>:? ?"),
    re.compile(r"^ {0,5}\d{1,6}: "),
    re.compile(r"^\| "),
)
NEARLY_ALL = 0.9
FENCE = re.compile(r"^\s{0,3}(?:```|~~~)")
LARGEST = 1e18
SUFFIXES = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50, "e": 2**60}
_SIZE = re.compile(r"^(\d{1,18}(?:[.,]\d{1,9})?) ?([bkmgtpe]?)i?b?$", re.IGNORECASE)


@dataclass
class Shared:
    """What several tools of one machine say together.

    Args:
        load: one-minute load average.
        cpus: logical CPUs.
        uptime: seconds since boot.
        notes: what was used and what was left out, as sentences.
    """

    load: tuple[float, str] | None = None
    cpus: float | None = None
    uptime: float | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """Lines of one command or file.

    Args:
        origin: the text that it is in.
        command: what was typed, or the name of the file; empty when nothing says it.
        lines: without labels and prompts.
        numbers: the number of each line in the text, from 1.
    """

    origin: str
    command: str
    lines: Sequence[str]
    numbers: Sequence[int]

    @cached_property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)

    def where(self, line: int) -> str:
        """``origin:line`` of a line of this part."""
        return f"{self.origin}:{self.numbers[line]}" if line < len(self.numbers) else self.origin

    def at(self, position: int) -> str:
        """``origin:line`` of a position in the text."""
        return self.where(self.text.count("\n", 0, position))

    def named(self, pattern: str) -> bool:
        """Whether what was typed, or the name of the file, matches."""
        return re.search(pattern, self.command) is not None


def parts(log: Log) -> Iterator[Part]:
    """The commands of a text in order; what comes before the first prompt is named after the file.

    Of a text that is longer than both its ends, only these are looked at.
    """
    if len(log.text) <= 2 * ENDS:
        yield from _split(log, log.text, 1)
        return
    yield from _split(log, log.text[:ENDS], 1)
    yield from _split(log, log.text[-ENDS:], log.text.count("\n", 0, len(log.text) - ENDS) + 1)


def _split(log: Log, text: str, first: int) -> Iterator[Part]:
    command = log.origin.replace("!", "/").replace("_", " ")
    lines: list[str] = []
    numbers: list[int] = []
    for number, line in enumerate(_plain(text.split("\n")), first):
        head = HEADING.match(line) or (PROMPT.match(line) if MARKS.intersection(line) else None)
        if head:
            if lines:
                yield Part(log.origin, command, lines, numbers)
            command, lines, numbers = head["command"], [], []
        elif not FENCE.match(line):
            lines.append(line)
            numbers.append(number)
    if lines:
        yield Part(log.origin, command, lines, numbers)


def _plain(lines: list[str]) -> list[str]:
    for label in LABELS:
        full = [line for line in lines[:2000] if line.strip()]
        if len(full) > 1 and sum(bool(label.match(line)) for line in full) >= NEARLY_ALL * len(full):
            lines = [label.sub("", line, count=1) for line in lines]
    return lines


def number(text: str) -> float | None:
    """A finite number, with a decimal point or a decimal comma, with or without a percent sign.

    >>> number("12,5"), number("3%"), number("1.5e300"), number("nan"), number("-")
    (12.5, 3.0, None, None, None)
    """
    plain = text.strip().rstrip("%")
    if "," in plain and "." not in plain:
        plain = plain.replace(",", ".")
    try:
        value = float(plain)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= LARGEST else None


def size(text: str, unit: float = 1.0) -> float | None:
    """Bytes of a size with a suffix; one without is in `unit` bytes.

    >>> size("3.9Gi"), size("12", 1024), size("1,5T"), size("-")
    (4187593113.6, 12288.0, 1649267441664.0, None)
    """
    match = _SIZE.match(text.strip())
    if not match:
        return None
    value = number(match[1])
    if value is None:
        return None
    return value * (SUFFIXES[match[2].lower()] if match[2] else unit)


@dataclass(frozen=True)
class Table:
    """A header and the rows below it.

    Args:
        names: of the columns.
        rows: cells per row.
        line: of the header, in its part.
        lines: of each row.
    """

    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    line: int
    lines: Sequence[int]

    def column(self, *names: str) -> int | None:
        """The place of the first of these names that there is."""
        return next((self.names.index(name) for name in names if name in self.names), None)

    def value(self, row: Sequence[str], *names: str) -> float | None:
        """The number in the first of these columns that there is."""
        place = self.column(*names)
        return None if place is None or place >= len(row) else number(row[place])


def tables(part: Part, head: re.Pattern[str], *, right: bool = False) -> Iterator[Table]:
    """Every table whose header line matches, up to the next blank line or header.

    Args:
        part: where to look.
        head: the beginning of the header; what stands before it (a time, a label) is left out of the rows too.
        right: count the cells of a row from its end, for tables whose rows begin with times of several words.
    """
    i, lines = 0, part.lines
    while i < len(lines):
        match = head.search(lines[i])
        if not match:
            i += 1
            continue
        names = lines[i][match.start() :].split()
        skip = len(lines[i][: match.start()].split())
        rows: list[list[str]] = []
        at: list[int] = []
        j = i + 1
        while j < len(lines) and lines[j].strip() and not head.search(lines[j]):
            cells = lines[j].split()
            if len(cells) >= len(names):
                rows.append(cells[-len(names) :] if right else cells[skip:])
                at.append(j)
            j += 1
        yield Table(names, rows, i, at)
        i = j


def mean(values: Sequence[float]) -> float | None:
    """The mean, None of nothing."""
    return sum(values) / len(values) if values else None
