"""Looking for rare sentences in large texts.

A pattern that begins with alternatives is tried at every character, which takes minutes for hundreds of megabytes; a
fixed word is found a hundred times faster, and the pattern is then tried around it only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

BEFORE, AFTER = 400, 1200  # characters around a word: its line, and the following ones where a paste was wrapped
MOST = 100_000  # matches; a log in which one sentence stands more often says nothing new


def near(text: str, words: Iterable[str], pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """The matches of a pattern around any of the words, in order, each once."""
    found: dict[int, re.Match[str]] = {}
    for word in words:
        for start, end in _windows(text, word):
            for match in islice(pattern.finditer(text, start, end), MOST):
                found.setdefault(match.start(), match)
    return iter([found[start] for start in sorted(found)])


def _windows(text: str, word: str) -> Iterator[tuple[int, int]]:
    """Parts of the text around a word that do not overlap."""
    at = text.find(word)
    start, end = at - BEFORE, at
    while at >= 0:
        if at - BEFORE > end:
            yield max(0, start), end
            start = at - BEFORE
        end = at + AFTER
        at = text.find(word, at + len(word))
    if end > 0:
        yield max(0, start), end
