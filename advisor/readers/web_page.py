"""A saved web page: usually what a login or an error showed where metrics were expected."""

from __future__ import annotations

import re
from collections.abc import Sequence

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.told import Told

_PAGE = re.compile(r"\s*(?:<!--[^>]*-->\s*)?<(?:!doctype html|html|head)\b", re.IGNORECASE)
_TITLE = re.compile(r"<title\b[^>]*>([^<]{1,200})", re.IGNORECASE)


def looks_like_a_page(head: str) -> bool:
    """Whether a text begins as HTML does.

    >>> looks_like_a_page("<!DOCTYPE html><html>"), looks_like_a_page("<?xml version='1.0'?>")
    (True, False)
    """
    return _PAGE.match(head) is not None


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What the text of pages says, such as a log that a page shows.

    Raises:
        InputError: when nothing in them is known.
    """
    from advisor.readers.log import read as read_text

    try:
        return read_text(artefacts, tick)
    except InputError:
        first = artefacts[0]
        title = _TITLE.search(first.text_head)
        called = f" ({' '.join(title[1].split())})" if title and title[1].strip() else ""
        raise InputError(
            f"{first.origin} is a web page{called}, as a login or an error shows, and holds no metrics; "
            "fetch it with credentials, for example: curl -u USER:PASSWORD http://HOST:PORT/metrics"
        ) from None
