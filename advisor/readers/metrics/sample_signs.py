"""How texts of Prometheus that hold samples over time begin. Nothing is imported here: every file is asked."""

from __future__ import annotations

import re

# Where a text of one of these formats begins; keys of an answer may be sorted, or spread over lines.
API = re.compile(r'\s*\{\s*"(?:status"\s*:\s*"(?:success|error)"|data"\s*:\s*\{\s*"result(?:Type)?")')
EXPORT = re.compile(r'\s*\{\s*"metric"\s*:\s*\{')
_DUMP = re.compile(r'\s*\{__name__="[^"\n]++"[^\n]*\} \S+ \d{10,}$', re.MULTILINE)
_TOOL = re.compile(r"\s*(?:[a-zA-Z_:][\w:.]*+)?(?:\{[^\n]*\})? =>\s+\S+ @\[[\d.]+\]")
# OpenMetrics holds a series once in a scrape, and as often as it was scraped in a dump.
_AGAIN = re.compile(r"^([a-zA-Z_:][\w:.]*+(?:\{[^\n]*\})?) \S+ \d{9,}[\d.]*\n\1 \S+ \d{9}", re.MULTILINE)


def looks_like_samples(head: str) -> bool:
    """Whether a text begins as one of the formats does.

    >>> looks_like_samples('{"status":"success","data":{'), looks_like_samples('{"schema": 1}')
    (True, False)
    """
    return any(sign.match(head) for sign in (API, EXPORT, _DUMP, _TOOL)) or bool(_AGAIN.search(head))
