"""Which topic a question has: a linear model over its wording and its concepts, trained by `bench/topic_model.py`.

The model is one small file, `knowledge/topics.bin`; a knowledge base without one is searched by words alone.
"""

from __future__ import annotations

import json
import math
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from advisor.answer.features import Concepts, speaking_of, wording
from advisor.answer.search import log_softmax

MAGIC = b"advisor topics 1\n"
# The length of each part of a question as a vector: however many pieces a wording has, its concepts keep their word.
WORDING, CONCEPTS = 3.0, 3.0


class TopicModel:
    """Weights of features for topics, eight bits each.

    Args:
        data: the file: a line of magic, a line of JSON (topics, count, bias), then little-endian arrays: the numbers of
            the features in rising order (uint32), their rarity (float32), the scale of their weights (float32), and the
            weights (int8, one row of all topics for each feature).
        concepts: the patterns of the concepts, by name.
    """

    def __init__(self, data: bytes, concepts: Mapping[str, str]) -> None:
        if not data.startswith(MAGIC):
            raise ValueError("no topic model of this version")
        line, _, rest = data[len(MAGIC) :].partition(b"\n")
        head = json.loads(line)
        self.topics: list[str] = head["topics"]
        self._bias: list[float] = head["bias"]
        self._concepts = Concepts(concepts.items())
        count, width = head["count"], len(self.topics)
        self._names, rest = _taken("I", rest, count)
        self._rarity, rest = _taken("f", rest, count)
        self._scale, rest = _taken("f", rest, count)
        self._weights, _ = _taken("b", rest, count * width)

    def scores(self, plain: str) -> dict[str, float]:
        """Topic -> the logarithm of its probability, for normalised text."""
        width, total = len(self.topics), self._bias
        for places, length in ((wording(plain), WORDING), (speaking_of(self._concepts.of(plain)), CONCEPTS)):
            known = [i for name in places if (i := self._place(name)) is not None]
            norm = math.sqrt(sum(self._rarity[i] ** 2 for i in known)) or 1.0
            for i in known:
                factor = self._rarity[i] * self._scale[i] * length / norm
                row = self._weights[i * width : (i + 1) * width]
                total = [t + factor * w for t, w in zip(total, row, strict=True)]
        return dict(zip(self.topics, log_softmax(total), strict=True))

    def _place(self, name: int) -> int | None:
        i = bisect_left(self._names, name)
        return i if i < len(self._names) and self._names[i] == name else None


def packed(topics: Sequence[str], bias: Iterable[float], columns: Mapping[str, array[float] | array[int]]) -> bytes:
    """The file of a model; `columns` are its arrays ``names``, ``rarity``, ``scale`` and ``weights``."""
    head = {"topics": list(topics), "count": len(columns["names"]), "bias": [round(b, 5) for b in bias]}
    arrays = b"".join(_little(columns[name]).tobytes() for name in ("names", "rarity", "scale", "weights"))
    return MAGIC + json.dumps(head).encode() + b"\n" + arrays


def _taken(kind: str, data: bytes, count: int) -> tuple[array[int] | array[float], bytes]:
    column = array(kind)
    size = count * column.itemsize
    column.frombytes(data[:size])
    return _little(column), data[size:]


def _little(column: array[int] | array[float]) -> array[int] | array[float]:
    if sys.byteorder == "big":
        column.byteswap()
    return column
