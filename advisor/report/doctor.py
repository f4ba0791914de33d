"""What can be read here, on a terminal: the sources that most rules need first, what is missing with the way to it.

Words of the knowledge base in the reader's language; what a source itself said stays as it said it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text as Line

from advisor.blocks import Words
from advisor.models import Knowledge, Lang
from advisor.models import Text as Both

SHOWN = 4  # rule names on a line; JSON has all
Item = Mapping[str, Any]


def print_doctor(document: Mapping[str, Any], knowledge: Knowledge, lang: Lang, file: IO[str]) -> None:
    """Print what `Advisor.doctor` found; colours only where the stream is a terminal that wants them."""
    console = Console(file=file, highlight=False, markup=False)
    words, sources, rules = Words(knowledge, lang), document["sources"], document["rules"]
    good = [s for s in sources if s["state"] == "ok"]
    console.print()
    console.print(Line(words.term("doctor.title"), style="bold"))
    summary = {"ok": len(good), "all": len(sources), "here": rules["here"], "live": rules["live"]}
    console.print(words.term("doctor.summary", **summary))
    console.print()
    _available(good, words, console)
    denied = [s for s in sources if s["state"] == "denied"]
    _missing(denied, words.term("doctor.denied"), ("✗", "red"), words, console)
    absent = [s for s in sources if s["state"] not in ("ok", "denied")]
    _missing(absent, words.term("doctor.absent"), ("–", "yellow"), words, console)


def _available(items: Sequence[Item], words: Words, console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(style="dim", justify="right", no_wrap=True)
    for item in _weightiest(items):
        count = words.term("doctor.decides", count=len(item["rules"])) if item["rules"] else ""
        said = (f"\n  {item['note']}", "dim") if item["note"] else ""
        table.add_row(Line.assemble(("✓ ", "green"), _label(item, words), said), count)
    console.print(Line(words.term("doctor.available"), style="underline"))
    console.print(Padding(table, (0, 0, 1, 2)))


def _missing(items: Sequence[Item], title: str, mark: tuple[str, str], words: Words, console: Console) -> None:
    if not items:
        return
    console.print(Line(title, style="underline"))
    for item in _weightiest(items):
        console.print(Line.assemble("  ", (f"{mark[0]} ", mark[1]), (_label(item, words), "bold")))
        rows = [Line(item["note"], style="dim"), Line(_open_rules(item["rules"], words))]
        if item["way"]:
            rows.append(Line(_way(item["way"], words)))
            rows.append(Line(item["way"]["command"], style="cyan"))
        for row in rows:
            if row.plain:
                console.print(Padding(row, (0, 0, 0, 4)))
        console.print()


def _weightiest(items: Sequence[Item]) -> list[Item]:
    return sorted(items, key=lambda item: -len(item["rules"]))


def _label(item: Item, words: Words) -> str:
    return words.say(Both(item["label"]["en"], item["label"]["zh"]))


def _way(way: Mapping[str, str], words: Words) -> str:
    return words.say(Both(way["en"], way["zh"]))


def _open_rules(rules: Sequence[str], words: Words) -> str:
    if not rules:
        return words.term("doctor.harmless")
    names = ", ".join(rules[:SHOWN])
    if len(rules) > SHOWN:
        names = f"{names} {words.term('doctor.more', count=len(rules) - SHOWN)}"
    return words.term("doctor.blind", count=len(rules), rules=names)
