"""The knowledge base as a folder of web pages: every rule and every answered question in every language.

    index.html                      English; zh-Hans/index.html and zh-Hant/index.html beside it
    <lang>/rules/<rule-id>.html     the page that `/rules/<rule-id>` and `advisor explain` show
    <lang>/faq/<faq-id>.html        an answered question
    static/                         the styles and the one script, which filters the index

Links are relative and name files, so the folder works from a disk and from any web server.
The same knowledge gives the same bytes.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from advisor.blocks import Block, Words, html
from advisor.blocks.catalogue import catalogue, rule_place
from advisor.blocks.strings import NAMES, web_folder
from advisor.errors import InputError
from advisor.models import LANGS, Knowledge, Lang

MARKER = '<meta name="generator" content="advisor">'
STATIC = ("blocks.css", "advisor.css", "rules.css", "rules.js", "icon.svg")
Blocks = Callable[[str, Lang], Sequence[Block]]


class Pages(NamedTuple):
    """What the site shows: the knowledge base, and the functions that make the blocks of its pages."""

    knowledge: Knowledge
    rule: Blocks
    faq: Blocks


def write_site(folder: Path, pages: Pages) -> Path:
    """Write the site into `folder` and return the path of its index.

    Raises:
        InputError: when the folder has files but no index that this function wrote, or cannot be written.
    """
    try:
        _check(folder)
        for name, text in _site(pages):
            _write(folder / name, text.encode())
        _forget(folder, pages.knowledge)
        for name in STATIC:
            _write(folder / "static" / name, (web_folder() / "static" / name).read_bytes())
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); choose another folder") from None
    return folder / "index.html"


def _check(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the pages")
    if folder.is_dir() and any(folder.iterdir()) and not _ours(folder / "index.html"):
        raise InputError(f"{folder} holds other files; give a new or empty folder, or one with pages written before")


def _ours(file: Path) -> bool:
    return file.is_file() and MARKER in file.read_text(encoding="utf-8", errors="replace")


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _forget(folder: Path, knowledge: Knowledge) -> None:
    """Remove the pages of rules and questions that the knowledge base no longer has."""
    for kind, known in (("rules", knowledge.rules), ("faq", knowledge.faqs)):
        for file in folder.glob(f"*/{kind}/*.html"):
            if file.stem not in known and _ours(file):
                file.unlink()


# --- the pages ------------------------------------------------------------------------


def _site(pages: Pages) -> Iterator[tuple[str, str]]:
    """Every page with its name. The English index, which has the marker, is first: what broke off can be repeated."""
    for lang in LANGS:
        yield _index_name(lang), _index(pages, lang)
    for lang in LANGS:
        for rule_id in pages.knowledge.rules:
            yield f"{lang}/rules/{rule_id}.html", _rule(pages, rule_id, lang)
        for faq_id in pages.knowledge.faqs:
            yield f"{lang}/faq/{faq_id}.html", _faq(pages, faq_id, lang)


def _index_name(lang: Lang) -> str:
    return "index.html" if lang == "en" else f"{lang}/index.html"


def _index(pages: Pages, lang: Lang) -> str:
    words, home = Words(pages.knowledge, lang), posixpath.dirname(_index_name(lang))
    context = {
        "groups": catalogue(pages.knowledge, lang),
        "total": len(pages.knowledge.rules),
        "questions": [{"id": faq.id, "title": words.say(faq.question)} for faq in pages.knowledge.faqs.values()],
        "rule_at": posixpath.relpath(f"{lang}/rules/%s.html", home or "."),
        "faq_at": posixpath.relpath(f"{lang}/faq/%s.html", home or "."),
    }
    return html.page("rules.html", lang, _shell(pages, lang, _index_name) | context)


def _rule(pages: Pages, rule_id: str, lang: Lang) -> str:
    shell = _shell(pages, lang, lambda other: f"{other}/rules/{rule_id}.html")
    place = rule_place(rule_id, pages.knowledge, lang)
    context = {"rule_at": "%s.html", "same_tab": True}
    fragments = list(html.fragments(pages.rule(rule_id, lang), lang, context))
    title = place["entry"]["title"]
    return html.page("rule.html", lang, shell | context | {"title": title, "place": place, "fragments": fragments})


def _faq(pages: Pages, faq_id: str, lang: Lang) -> str:
    shell = _shell(pages, lang, lambda other: f"{other}/faq/{faq_id}.html")
    context = {"rule_at": "../rules/%s.html", "same_tab": True}
    fragments = list(html.fragments(pages.faq(faq_id, lang), lang, context))
    title = Words(pages.knowledge, lang).say(pages.knowledge.faqs[faq_id].question)
    return html.page("rule.html", lang, shell | context | {"title": title, "fragments": fragments})


def _shell(pages: Pages, lang: Lang, name: Callable[[Lang], str]) -> dict[str, Any]:
    """What every page has around its content; `name` gives the file of the page in each language."""
    start = posixpath.dirname(name(lang)) or "."
    knowledge = pages.knowledge
    version = Words(knowledge, lang).term("report.knowledge", version=knowledge.version, hash=knowledge.hash)
    return {
        "shell": "site.html",
        "static": posixpath.relpath("static", start) + "/",
        "index": posixpath.relpath(_index_name(lang), start),
        "languages": [(code, NAMES[code], posixpath.relpath(name(code), start)) for code in LANGS],
        "version": version,
    }
