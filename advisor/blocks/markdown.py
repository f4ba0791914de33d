"""Blocks -> Markdown that issue trackers and chat front ends render.

Text from the machine (paths, names, commands) is data: pipes are escaped in tables and
code is fenced, so that it cannot become markup.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from advisor.blocks.words import Block

_SPECIAL = re.compile(r"([\\*_\[\]<>|#])")


def to_markdown(blocks: Sequence[Block]) -> str:
    """The blocks as one Markdown text; kinds without a text form are left out."""
    parts = [_RENDER[b["kind"]](b) for b in blocks if b["kind"] in _RENDER]
    return "\n\n".join(p for p in parts if p).strip() + "\n"


def plain(text: str) -> str:
    """Text whose Markdown characters are inert; code between backticks stays as it is."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # an odd backtick is only a character
        return _SPECIAL.sub(r"\\\1", text).replace("`", "\\`")
    return "`".join(p if i % 2 else _SPECIAL.sub(r"\\\1", p) for i, p in enumerate(pieces))


def fence(code: str, kind: str = "") -> str:
    """Code in a fence that is longer than any run of backticks in it; `kind` is the language that colours it."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}{kind}\n{code}\n{mark}"


def span(code: str) -> str:
    """Code in a line, between more backticks than any run of them in it."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    mark, space = "`" * (longest + 1), " " if longest else ""
    return f"{mark}{space}{' '.join(code.split())}{space}{mark}"


def _headline(b: Block) -> str:
    tags = [b["severity"]["label"]] if b.get("severity") else []
    if b.get("confidence"):
        reason = b["confidence"].get("reason")
        tags.append(b["confidence"]["label"] + (f" ({reason})" if reason else ""))
    tags += [f"**{b['gain']}**"] if b.get("gain") else []
    line = " · ".join(plain(t) if not t.startswith("**") else t for t in tags)
    expected = plain(b.get("expected") or "")
    return "\n\n".join(x for x in (f"## {plain(b['title'])}", plain(b.get("lede") or ""), line, expected) if x)


def _steps(b: Block) -> str:
    rows = "\n".join(f"| {plain(p['label'])} | {p['value']} | {p['percent']} |" for p in b["parts"])
    return f"### {plain(b['title'])}\n\n| {plain(b['caption'])} | | |\n|---|---:|---:|\n{rows}"


def _evidence(b: Block) -> str:
    rows = "\n".join(
        f"| {'' if r['holds'] else '✓ '}{plain(r['label'])} | {plain(r['value'])} | {plain(r['limit'])} | {_where(r)} |"
        for r in b["rows"]
    )
    return f"### {plain(b['title'])}\n\n| | | | |\n|---|---:|---|---|\n{rows}"


def _where(row: Block) -> str:
    where = f"`{row['where'].replace('`', '')}`".replace("|", "\\|") if row.get("where") else ""
    return " ".join(x for x in (plain(row["origin"]), where) if x)


def _remedies(b: Block) -> str:
    return f"### {plain(b['title'])}\n\n" + "\n\n".join(_remedy(i, r) for i, r in enumerate(b["items"], 1))


def _remedy(number: int, item: Block) -> str:
    setting = "\n\n" + fence(item["setting"]) if item.get("setting") else ""
    setting += "\n\n" + fence(item["patch"].rstrip("\n"), "diff") if item.get("patch") else ""
    details = "\n".join(
        f"- {plain(d['label'])}: {plain(d['text'])}" + (f" — {span(d['command'])}" if d.get("command") else "")
        for d in item["details"]
    )
    return f"**{number}. {plain(item['do'])}** ({plain(item['effort'])}){setting}\n\n{details}"


def _prose(b: Block) -> str:
    title = f"### {plain(b['title'])}\n\n" if b.get("title") else ""
    paragraphs = "\n\n".join(plain(p) for p in b["paragraphs"])
    points = "\n".join(
        f"- {plain(p['text'])}" + (f"\n  *{plain(p['note'])}*" if p.get("note") else "") for p in b.get("points", ())
    )
    return title + "\n\n".join(x for x in (paragraphs, points) if x)


def _others(b: Block) -> str:
    rows = "\n".join(
        f"- **{plain(i['title'])}** ({plain(i['severity']['label'])}{', ' + i['gain'] if i.get('gain') else ''}): "
        f"{plain(i['text'])}"
        for i in b["items"]
    )
    return f"### {plain(b['title'])}\n\n{rows}"


def _fates(b: Block) -> str:
    return f"### {plain(b['title'])}\n\n" + "\n".join(_fate(item) for item in b["items"])


def _fate(item: Block) -> str:
    lines = [f"- **{plain(item['fate']['label'])}**: {plain(item['title'])} ({plain(item['severity']['label'])})"]
    lines += [f"  - {plain(note)}" for note in item["notes"]]
    lines += [
        f"  - {_MARKS[check['holds']]} {plain(item['verify'])}: {plain(check['text'])}" for check in item["checks"]
    ]
    return "\n".join(lines)


def _changes(b: Block) -> str:
    cells = ("label", "before", "after", "change", "band")
    rows = "\n".join(
        f"| {' | '.join(plain(r[cell]) for cell in cells)} | {plain(r['judgement']['label'])} |" for r in b["rows"]
    )
    table = f"| | | | | | |\n|---|---:|---:|---:|---|---|\n{rows}" if rows else ""
    notes = "\n".join(plain(note) for note in b["notes"])
    return "\n\n".join(x for x in (f"### {plain(b['title'])}", table, notes) if x)


def _missing(b: Block) -> str:
    return f"### {plain(b['title'])}\n\n" + "\n".join(f"- {_further(i)}" for i in b["items"])


def _further(item: Block) -> str:
    question = f"**{plain(item['question'])}** " if item.get("question") else ""
    return f"{question}{plain(item['why'])}" + (f": {span(item['command'])}" if item["command"] else "")


def _coverage(b: Block) -> str:
    unread = "; ".join(plain(u) for u in b.get("unread", ()))
    return f"*{plain(b['text'])}*" + (f" {unread}" if unread else "")


def _sources(b: Block) -> str:
    links = [f"[{plain(i['label'])}]({i['url']})" if "://" in i["url"] else span(i["label"]) for i in b["items"]]
    return f"{plain(b['title'])}: " + " · ".join(links)


_MARKS = {True: "✓", False: "✗", None: "?"}
_RENDER: dict[str, Callable[[Any], str]] = {
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
