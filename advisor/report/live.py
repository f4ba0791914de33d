"""A run while it goes on, in a few lines at the foot of the terminal: the step's time, the machine, the top finding.

The program keeps its output: it scrolls above the footer, in a region of the terminal that leaves the last lines out.
Everything shown comes from the blocks and series that every other face uses.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from advisor.blocks import Block, Words, diagnosis_blocks
from advisor.models import Diagnosis, Knowledge, Lang, Profile
from advisor.report.terminal import PART_STYLE, SEVERITY_STYLE

HEIGHT = 5
SPARKS = "▁▂▃▄▅▆▇█"
POINTS = 24
SHOWN = ("hw.gpu.utilization", "process.cpu.utilization", "ml.step.time")
ESC = "\x1b"


def live_lines(found: Diagnosis, knowledge: Knowledge, lang: Lang, title: str, width: int) -> list[Text]:
    """`HEIGHT` lines of at most `width` cells: a rule with `title`, the step, the machine, the headline, its lede."""
    words = Words(knowledge, lang)
    by_kind: dict[str, Block] = {}
    for block in diagnosis_blocks(found, knowledge, lang):
        by_kind.setdefault(block["kind"], block)
    seconds = words.value(found.profile.duration_s, "run.duration")
    lines = [
        Text(f"── advisor · {seconds} · {title} ", style="dim"),
        _step(by_kind.get("steps"), width),
        _machine(found.profile, words),
        *_headline(by_kind.get("headline", {"title": ""})),
    ]
    lines[0].append("─" * max(0, width - lines[0].cell_len))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def sparkline(values: Sequence[float], points: int = POINTS) -> str:
    """The last `points` values between 0 and 1 as one cell each.

    >>> sparkline([0.0, 0.5, 1.0, 2.0])
    '▁▅██'
    """
    top = len(SPARKS) - 1
    return "".join(SPARKS[min(top, max(0, round(v * top + 0.01)))] for v in values[-points:])


def _step(b: Block | None, width: int) -> Text:
    if b is None:
        return Text()
    line, cells = Text(), max(10, min(40, width // 3))
    for part in b["parts"]:
        line.append(" " * max(1, round(part["share"] * cells)), style=PART_STYLE.get(part["id"], "on grey50"))
    line.append(f"  {b['caption']}  ", style="bold")
    for part in b["parts"]:
        line.append("■ ", style=PART_STYLE.get(part["id"], "on grey50").removeprefix("on "))
        line.append(f"{part['label']} {part['percent']}  ")
    return line


def _machine(profile: Profile, words: Words) -> Text:
    """The series that tell how busy the machine is: a share as it is, anything else against its own highest value."""
    line = Text()
    for name in SHOWN:
        series, spec = profile.series.get(name), words.knowledge.facts.get(name)
        if series is None or not series.v:
            continue
        top = 1.0 if spec and spec.high == 1 else max(*series.v, 1e-9)
        line.append(f"{words.label(name)} ", style="dim")
        line.append(sparkline([v / top for v in series.v]), style="dark_cyan")
        line.append(f" {words.value(series.v[-1], name)}   ")
    return line


def _headline(b: Block) -> tuple[Text, Text]:
    severity = b.get("severity")
    title = Text("● ", style=SEVERITY_STYLE.get(severity["id"], "") if severity else "green")
    title.append(b["title"], style="bold")
    if b.get("gain"):
        title.append(f"  {b['gain']}", style="dim")
    return title, Text(b.get("lede") or "", style="dim")


class Footer:
    """The last `HEIGHT` lines of a terminal, kept for us while a program writes to the rest of it."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._rows = 0

    @staticmethod
    def fits(stream: IO[str]) -> bool:
        """Whether `stream` is a terminal that is large enough and understands cursor movement."""
        return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and _size(stream)[1] >= 4 * HEIGHT

    def show(self, draw: Callable[[int], Sequence[Text]]) -> None:
        """Draw the footer; `draw` gets the width in cells. A changed terminal size is followed."""
        columns, rows = _size(self._stream)
        out = ""
        if rows != self._rows:  # make room below what is there, then keep the program out of it
            out += "\n" * HEIGHT + f"{ESC}[{HEIGHT}A{ESC}7{ESC}[1;{rows - HEIGHT}r{ESC}8"
            self._rows = rows
        out += f"{ESC}7"
        for i, line in enumerate(draw(columns)):
            out += f"{ESC}[{rows - HEIGHT + 1 + i};1H{ESC}[2K{_ansi(line, columns)}"
        self._write(out + f"{ESC}8")

    def close(self) -> None:
        """Give the lines back."""
        if self._rows:
            self._write(f"{ESC}7{ESC}[r{ESC}[{self._rows - HEIGHT + 1};1H{ESC}[J{ESC}8")
            self._rows = 0

    def _write(self, text: str) -> None:
        self._stream.write(text)  # one write: the program's own output comes before or after it, not in between
        self._stream.flush()


def _size(stream: Any) -> os.terminal_size:
    try:
        return os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return os.terminal_size((80, 24))


def _ansi(line: Text, columns: int) -> str:
    buffer = io.StringIO()
    console = Console(file=buffer, force_terminal=True, width=columns, highlight=False, markup=False)
    console.print(line, end="", no_wrap=True, overflow="ellipsis", crop=True)
    return buffer.getvalue()
