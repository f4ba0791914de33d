"""Blocks on a terminal, through rich: the same content as every face, in colours that mean something.

Text from the machine is printed as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from advisor.blocks import Block

BAR_CELLS = 46
PART_STYLE = {"data": "on dark_orange3", "compute": "on dark_cyan", "optimizer": "on slate_blue1"}
SEVERITY_STYLE = {"critical": "bold red", "serious": "red", "moderate": "yellow", "minor": "dim"}
_VERDICT_STYLE = {"healthy": "bold green", "bottleneck": "bold", "inconclusive": "bold yellow"}
_VERDICT_STYLE |= {"better": "bold green", "worse": "bold red", "unknown": "bold yellow"}

_FATE_MARKS = {
    "gone": ("✓", "green"),
    "persisting": ("●", "dark_orange3"),
    "new": ("+", "bold red"),
    "first_seen": ("+", "yellow"),
    "unmeasured": ("?", "yellow"),
}
_CHECK_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}
_JUDGEMENT_STYLE = {"better": "green", "worse": "bold red", "same": "dim"}
_DIFF_STYLE = {"+": "green", "-": "red"}


def print_blocks(blocks: Sequence[Block], file: IO[str]) -> None:
    """Print the blocks to a stream; colours only where the stream is a terminal that wants them."""
    console = Console(file=file, highlight=False, markup=False, soft_wrap=False)
    console.print()
    for block in blocks:
        show = _SHOW.get(block["kind"])
        if show:
            show(block, console)
    console.print()


def _headline(b: Block, console: Console) -> None:
    console.print(Text(b["title"], style=_VERDICT_STYLE.get(b.get("verdict", ""), "bold")))
    if b.get("lede"):
        console.print(b["lede"])
    tags = Text()
    if b.get("severity"):
        tags.append(b["severity"]["label"], style=SEVERITY_STYLE.get(b["severity"]["id"], ""))
    for extra in (b.get("gain"), (b.get("confidence") or {}).get("label")):
        if extra:
            tags.append((" · " if tags else "") + extra)
    reason = (b.get("confidence") or {}).get("reason")
    if reason:
        tags.append(f" ({reason})", style="dim")
    if tags:
        console.print(tags)
    if b.get("expected"):
        console.print(Text(b["expected"], style="dim"))
    console.print()


def _steps(b: Block, console: Console) -> None:
    bar = Text("  ")
    for part in b["parts"]:
        bar.append(" " * max(1, round(part["share"] * BAR_CELLS)), style=PART_STYLE.get(part["id"], "on grey50"))
    console.print(Text(f"{b['title']}: {b['caption']}", style="dim"), bar, sep="\n")
    for part in b["parts"]:
        legend = Text("  ").append("  ", style=PART_STYLE.get(part["id"], "on grey50"))
        console.print(legend.append(f" {part['percent']:>5}  {part['value']:>8}  {part['label']}"))
    console.print()


def _evidence(b: Block, console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    for row in b["rows"]:
        mark = Text("● " if row["holds"] else "○ ", style="dark_orange3" if row["holds"] else "green")
        value = Text(row["value"], style="bold" if row["holds"] else "")
        where = " ".join(x for x in (row["origin"], row.get("where")) if x)
        table.add_row(Text.assemble(mark, row["label"], (f"\n  {where}", "dim")), value, row["limit"])
    _titled(b, console)
    console.print(Padding(table, (0, 0, 1, 2)))


def _remedies(b: Block, console: Console) -> None:
    _titled(b, console)
    for number, item in enumerate(b["items"], 1):
        console.print(Text.assemble(f"  {number}. ", (item["do"], "bold"), (f"  {item['effort']}", "dim")))
        if item.get("setting"):
            console.print(Padding(Text(item["setting"], style="cyan"), (0, 0, 0, 5)))
        if item.get("patch"):
            console.print(_patch(item["patch"]), soft_wrap=True)  # as it is, so that it can be copied and applied
        for detail in item["details"]:
            line = Text.assemble((f"{detail['label']}: ", "dim"), detail["text"])
            if detail.get("command"):
                line.append(f"  {detail['command']}", style="cyan")
            console.print(Padding(line, (0, 0, 0, 5)))
    console.print()


def _patch(diff: str) -> Text:
    """A unified diff, its lines coloured by their sign."""
    lines = diff.rstrip("\n").split("\n")
    return Text("\n").join(Text(line, style=_DIFF_STYLE.get(line[:1], "dim")) for line in lines)


def _prose(b: Block, console: Console) -> None:
    if b.get("title"):
        _titled(b, console)
    for paragraph in b["paragraphs"]:
        console.print(paragraph)
    for point in b.get("points", ()):
        console.print(Padding(Text(f"• {point['text']}"), (0, 0, 0, 2)))
        if point.get("note"):
            console.print(Padding(Text(point["note"], style="dim"), (0, 0, 0, 4)))
    console.print()


def _others(b: Block, console: Console) -> None:
    _titled(b, console)
    for item in b["items"]:
        style = SEVERITY_STYLE.get(item["severity"]["id"], "")
        gain = f"  {item['gain']}" if item.get("gain") else ""
        console.print(Text.assemble("  ", (item["severity"]["label"], style), f"  {item['title']}{gain}"))
        console.print(Padding(Text(item["text"], style="dim"), (0, 0, 0, 4)))
    console.print()


def _fates(b: Block, console: Console) -> None:
    _titled(b, console)
    for item in b["items"]:
        mark, style = _FATE_MARKS["unmeasured" if item["fate"]["unverified"] else item["fate"]["id"]]
        line = Text.assemble("  ", (f"{mark} {item['fate']['label']}", style), f"  {item['title']}")
        console.print(line.append(f"  {item['severity']['label']}", style="dim"))
        for note in item["notes"]:
            console.print(Padding(Text(note, style="dim"), (0, 0, 0, 4)))
        for check in item["checks"]:
            mark, style = _CHECK_MARKS[check["holds"]]
            console.print(
                Padding(Text.assemble((f"{mark} ", style), (f"{item['verify']}: ", "dim"), check["text"]), (0, 0, 0, 4))
            )
    console.print()


def _changes(b: Block, console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(overflow="fold")
    for _ in ("before", "after", "change"):
        table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    for row in b["rows"]:
        style = _JUDGEMENT_STYLE.get(row["judgement"]["id"], "")
        judged = Text(row["judgement"]["label"], style=style)
        table.add_row(
            row["label"], row["before"], f"→ {row['after']}", Text(row["change"], style=style), row["band"], judged
        )
    _titled(b, console)
    if b["rows"]:
        console.print(Padding(table, (0, 0, 0, 2)))
    for note in b["notes"]:
        console.print(Padding(Text(note, style="dim"), (0, 0, 0, 2)))
    console.print()


def _missing(b: Block, console: Console) -> None:
    _titled(b, console)
    for item in b["items"]:
        if item.get("question"):
            console.print(Padding(Text(item["question"], style="bold"), (0, 0, 0, 2)))
        console.print(Padding(item["why"], (0, 0, 0, 2)))
        if item["command"]:
            console.print(Padding(Text(item["command"], style="cyan"), (0, 0, 0, 4)))
    console.print()


def _coverage(b: Block, console: Console) -> None:
    console.print(Text(b["text"], style="dim"))
    for source in b["read"]:
        console.print(Padding(Text(f"{source['origin']}: {source['note']}", style="dim"), (0, 0, 0, 2)))


def _sources(b: Block, console: Console) -> None:
    for item in b["items"]:
        console.print(Text(f"{item['label']}  {item['url'] if '://' in item['url'] else ''}".rstrip(), style="dim"))


def _titled(b: Block, console: Console) -> None:
    console.print(Text(b["title"], style="underline"))


_SHOW: dict[str, Callable[[Any, Console], None]] = {
    "headline": _headline,
    "steps": _steps,
    "evidence": _evidence,
    "remedies": _remedies,
    "prose": _prose,
    "others": _others,
    "fates": _fates,
    "changes": _changes,
    "missing": _missing,
    "coverage": _coverage,
    "sources": _sources,
}
