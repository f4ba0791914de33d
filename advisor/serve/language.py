"""The language of a request: chosen by link or cookie, else the browser's."""

from __future__ import annotations

from typing import get_args

from fastapi import Request

from advisor.models import Lang

COOKIE = "advisor-lang"


def known(text: str | None) -> Lang | None:
    """`text` if it names a language of the page."""
    return next((lang for lang in get_args(Lang) if lang == text), None)


def chosen(request: Request) -> Lang | None:
    """The language that the user chose, now (`?lang=`) or earlier (the cookie); None if none was."""
    return known(request.query_params.get("lang")) or known(request.cookies.get(COOKIE))


def page_lang(request: Request) -> Lang:
    """The page's language: the chosen one, else the browser's."""
    return chosen(request) or _accepted(request.headers.get("accept-language", ""))


def _accepted(header: str) -> Lang:
    """The first language of an Accept-Language header that the page has, else English."""
    for part in header.lower().split(","):
        tag = part.partition(";")[0].strip()
        if tag.startswith("en"):
            return "en"
        if tag.startswith("zh"):
            return "zh-Hant" if any(s in tag for s in ("hant", "tw", "hk", "mo")) else "zh-Hans"
    return "en"
