"""Blocks of an answer to HTML: the only place that knows their markup.

One source of markup serves both ways to read an answer: without JavaScript the whole
page is made here; with it, the same fragments arrive one by one as server-sent events
and the page puts them in its tree. So nothing is drawn twice, nothing is vendored, and
the page stays a few hundred lines that listen to keys. Escaping is Jinja's, always on.

`web/templates/blocks/` is the registry: a kind without a template there is skipped.
Nothing is computed here but geometry: where a bar starts, and whether its label fits.
Widths are SVG attributes, because the content security policy forbids inline styles.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from jinja2 import ChainableUndefined, Environment, FileSystemLoader, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from advisor.blocks.strings import NAMES, strings, web_folder
from advisor.models import Lang

_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")
# The widths (px) at which the stylesheet's container queries let a label appear.
_STEPS = (240, 320, 420, 540, 680, 820)


class Segment(NamedTuple):
    """One part of a bar, in percent of its width; `fits` is the class that says from which width the label fits."""

    part: Mapping[str, Any]
    x: float
    width: float
    fits: str
    fits_short: str


@cache
def environment() -> Environment:
    """The Jinja environment of the page; a field that a block lacks prints as nothing."""
    env = Environment(
        loader=FileSystemLoader(web_folder() / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=ChainableUndefined,
    )
    env.filters |= {"inline": inline, "emphasise": emphasise, "segments": segments, "percent": percent}
    env.filters |= {"rule_url": rule_url}
    env.globals |= {"language_names": NAMES}
    return env


@cache
def _kinds() -> frozenset[str]:
    return frozenset(file.stem for file in (web_folder() / "templates" / "blocks").glob("*.html"))


def fragments(blocks: Sequence[Mapping[str, Any]], lang: Lang, context: Mapping[str, Any]) -> Iterator[str]:
    """The HTML of each block whose kind is known, in order. `context` has what a block does not know.

    profile: the id for links that ask on; exports: the id for links to the report; running: whether it still runs;
    rule_at: the address of a rule's page with %s for its id; same_tab: whether such a link stays in its tab;
    offline: whether there are no such pages.
    """
    known = (block for block in blocks if block.get("kind") in _kinds())
    for place, block in enumerate(known):
        template = environment().get_template(f"blocks/{block['kind']}.html")
        yield template.render(b=block, t=strings(lang), lang=lang, first=place == 0, **context)


def page(template: str, lang: Lang, context: Mapping[str, Any]) -> str:
    """A whole page."""
    return environment().get_template(template).render(t=strings(lang), lang=lang, **context)


@pass_context
def rule_url(context: Context, rule_id: str) -> str:
    """The address of a rule's page from the page being drawn."""
    return str(context.get("rule_at") or "/rules/%s") % rule_id


def inline(text: str | None) -> Markup:
    """Escaped text with `code` and **strong** marked up: the only Markdown that block texts use."""
    text = str(text or "")
    parts, end = [], 0
    for found in _INLINE.finditer(text):
        code, strong = found.groups()
        parts.append(escape(text[end : found.start()]))
        parts.append(Markup("<code>{}</code>").format(code) if code else Markup("<b>{}</b>").format(strong))
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])


def emphasise(text: str | None, part: str | None) -> Markup:
    """`text` as `inline` gives it, with the first occurrence of `part` strong."""
    text = str(text or "")
    before, found, after = text.partition(part) if part else (text, "", "")
    return inline(before) + Markup("<b>{}</b>").format(found) + inline(after) if found else inline(text)


def percent(share: float | None) -> str | None:
    """0 to 1 as an SVG length: ``49%``; what is beyond the scale stays at its end."""
    return None if share is None else f"{min(max(share, 0.0), 1.0) * 100:.4g}%"


def segments(parts: Sequence[Mapping[str, Any]]) -> list[Segment]:
    """The parts of a step side by side; shares that sum to more than 1 are scaled to fit."""
    total = max(1.0, sum(float(p["share"]) for p in parts))
    placed, x = [], 0.0
    for part in parts:
        share = float(part["share"]) / total
        long, short = f"{part['label']} {part['value']}", str(part["percent"])
        placed.append(Segment(part, round(x * 100, 2), round(share * 100, 2), _fits(long, share), _fits(short, share)))
        x += share
    return placed


def _fits(label: str, share: float) -> str:
    """``fit-420``: the label fits when the whole bar is at least that wide; ``fit-never`` when it never does."""
    em = sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.56 for c in label)
    needed = (em * 12.5 + 18) / max(share, 1e-6)
    return next((f"fit-{step}" for step in _STEPS if needed <= step), "fit-never")
