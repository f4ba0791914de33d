"""A question -> what the topic model sees of it: words, word pairs, pieces of words, and the concepts it speaks of.

A concept ("the GPU is hardly used", "after an hour") is a pattern of `knowledge/concepts.yaml` that joins the many
ways to say one thing in both languages; pairs of concepts tell most topics apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from zlib import crc32

from advisor.answer.search import tokens

# A question says what it is about at its beginning and at its end; what is pasted between them has readers of its own.
HEAD, TAIL = 1200, 300
PIECES = (3, 4, 5)
_PART = re.compile(r"[a-z]+|[\u3400-\u9fff]+")


def shortened(plain: str) -> str:
    """The beginning and the end of a long text."""
    return plain if len(plain) <= HEAD + TAIL else f"{plain[:HEAD]} {plain[-TAIL:]}"


def wording(plain: str) -> list[int]:
    """Numbers of the words, word pairs and pieces of words of normalised text, each once."""
    text = shortened(plain)
    found = tokens(text)
    names = [f"t:{word}" for word in found]
    names += [f"b:{a} {b}" for a, b in pairwise(found)]
    for part in _PART.findall(text):
        names += _chinese(part) if part[0] >= "\u3400" else _latin(part)
    return _numbers(names)


def _latin(word: str) -> Iterable[str]:
    whole = f"<{word}>"
    return (f"c:{whole[i : i + n]}" for n in PIECES for i in range(len(whole) - n + 1))


def _chinese(run: str) -> Iterable[str]:
    return (f"z:{run[i : i + n]}" for n in (1, 2, 3) for i in range(len(run) - n + 1))


class Concepts:
    """The concepts that a text may speak of, compiled once."""

    def __init__(self, patterns: Iterable[tuple[str, str]]) -> None:
        self._patterns = [(name, re.compile(pattern)) for name, pattern in patterns]

    def of(self, plain: str) -> tuple[str, ...]:
        """The concepts in normalised text, in the order of the vocabulary."""
        text = shortened(plain)
        return tuple(name for name, pattern in self._patterns if pattern.search(text))


def speaking_of(concepts: Sequence[str]) -> list[int]:
    """Numbers of concepts and of their pairs."""
    pairs = (f"p:{a}+{b}" for i, a in enumerate(concepts) for b in concepts[i + 1 :])
    return _numbers([*(f"k:{name}" for name in concepts), *pairs])


def _numbers(names: Iterable[str]) -> list[int]:
    """Each name as 32 bits: of sixty thousand known ones fewer than one pair collides."""
    return [crc32(name.encode()) for name in dict.fromkeys(names)]
