"""Train the model that tells the topic of a question, and write `knowledge/topics.bin`.

    python bench/topic_model.py [--also QUESTIONS.yaml] [--write FILE]

It learns from the project's own questions (`knowledge/questions`), the phrases and definitions of the topics, and the
titles of rules and answered questions; `--also` adds a file of labelled questions (a list of `{text, category}`).
Everything is seeded: the same input gives the same file, byte for byte, on one kind of processor.
"""

from __future__ import annotations

import argparse
import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from advisor import kb
from advisor.answer.classify import CONCEPTS, WORDING, packed
from advisor.answer.features import Concepts, speaking_of, wording
from advisor.answer.understand import normalise
from advisor.models import Knowledge

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS, MODEL = ROOT / "knowledge" / "questions", ROOT / "knowledge" / "topics.bin"
EPOCHS, BATCH, RATE, DECAY = 10, 256, 0.03, 1e-5
RARE = 4  # a feature of fewer questions teaches little, and takes room in the file
RARE_PAIR = 4  # pairs of concepts are many
ASIDE = 0.3  # titles of rules and answered questions are no questions
CONCEPT_WEIGHT = 2.0  # of a concept beside a pair of concepts

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """A text, the topic it has, and how much it counts."""

    text: str
    topic: str
    weight: float = 1.0


@dataclass(frozen=True)
class Seen:
    """The features of one text: of its wording, its concepts, and pairs of concepts."""

    words: tuple[int, ...]
    concepts: tuple[int, ...]
    pairs: tuple[int, ...]


@dataclass
class Trained:
    """A model before it is packed."""

    topics: list[str]
    names: list[int]
    rarity: Floats
    weights: Floats
    bias: Floats

    def packed(self) -> bytes:
        """The file: weights of eight bits with one scale for each feature."""
        scale = np.maximum(np.abs(self.weights).max(axis=1), 1e-9) / 127.0
        rows = np.rint(self.weights / scale[:, None]).astype(np.int8)
        columns: dict[str, Any] = {
            "names": array("I", self.names),
            "rarity": array("f", self.rarity.tolist()),
            "scale": array("f", scale.tolist()),
            "weights": array("b", rows.tobytes()),
        }
        return packed(self.topics, self.bias.tolist(), columns)


def own_examples(knowledge: Knowledge) -> Iterator[Example]:
    """What the project itself says about its topics."""
    for topic in knowledge.topics.values():
        for text in (*topic.phrases, topic.title.en, topic.title.zh, topic.definition.en, topic.definition.zh):
            yield Example(text, topic.id)
    for rule in knowledge.rules.values():
        yield from (Example(text, rule.topic, ASIDE) for text in (rule.title.en, rule.title.zh))
    for faq in knowledge.faqs.values():
        for text in (faq.question.en, faq.question.zh, *faq.phrases):
            yield from (Example(text, topic, ASIDE) for topic in faq.topics[:1])
    for path in sorted(QUESTIONS.glob("*.yaml")):
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        yield from (Example(text, data["topic"]) for lang in ("en", "zh") for text in data[lang])


def labelled(path: Path) -> list[dict[str, Any]]:
    """Questions with the topics that are right: ``text``, ``category`` and perhaps ``acceptable``."""
    return list(yaml.safe_load(path.read_text(encoding="utf-8")))


def seen(text: str, concepts: Concepts) -> Seen:
    """The features of a text."""
    plain = normalise(text)
    spoken = concepts.of(plain)
    both = speaking_of(spoken)
    return Seen(tuple(wording(plain)), tuple(both[: len(spoken)]), tuple(both[len(spoken) :]))


def train(examples: Sequence[Example], texts: Sequence[Seen], topics: Sequence[str]) -> Trained:
    """A multinomial logistic regression over the features that several texts have, by Adam on the rows in use."""
    names, rarity = _vocabulary(texts)
    place = {name: i for i, name in enumerate(names)}
    rows = [_vector(text, place, rarity) for text in texts]
    of_topic = Counter(e.topic for e in examples)
    weight = np.array([e.weight / math.sqrt(of_topic[e.topic]) for e in examples], np.float32)
    target = np.array([topics.index(e.topic) for e in examples])
    weights, bias = _fitted(rows, target, weight, len(names), len(topics))
    return Trained(list(topics), names, rarity, weights, bias)


def _vocabulary(texts: Sequence[Seen]) -> tuple[list[int], Floats]:
    words = Counter(f for t in texts for f in t.words)
    concepts = Counter(f for t in texts for f in t.concepts)
    pairs = Counter(f for t in texts for f in t.pairs)
    kept = {f: (c, 1.0) for f, c in words.items() if c >= RARE}
    kept |= {f: (c, CONCEPT_WEIGHT) for f, c in concepts.items() if c >= RARE}
    kept |= {f: (c, 1.0) for f, c in pairs.items() if c >= RARE_PAIR}
    names = sorted(kept)
    rarity = [math.log(1 + len(texts) / kept[f][0]) * kept[f][1] for f in names]
    return names, np.array(rarity, np.float32)


def _vector(text: Seen, place: dict[int, int], rarity: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Places and values of a text's features; wording and concepts are normalised apart."""
    parts: list[tuple[NDArray[np.int64], Floats]] = []
    for features, length in ((text.words, WORDING), ((*text.concepts, *text.pairs), CONCEPTS)):
        places = np.array([place[f] for f in features if f in place], np.int64)
        values = rarity[places]
        norm = float(np.linalg.norm(values)) or 1.0
        parts.append((places, values * np.float32(length / norm)))
    return np.concatenate([p for p, _ in parts]), np.concatenate([v for _, v in parts])


Row = tuple[NDArray[np.int64], Floats]


def _fitted(
    rows: Sequence[Row], target: NDArray[np.int64], weight: Floats, features: int, topics: int
) -> tuple[Floats, Floats]:
    adam = _Adam(features, topics)
    shuffle = np.random.default_rng(0)
    for epoch in range(EPOCHS):
        order = shuffle.permutation(len(rows))
        for start in range(0, len(rows), BATCH):
            chosen = order[start : start + BATCH]
            adam.descend([rows[i] for i in chosen], target[chosen], weight[chosen], RATE * (1 - epoch / EPOCHS))
    return adam.weights, adam.bias


class _Adam:
    """Weights, and the moments of the gradients of the rows that were touched."""

    def __init__(self, features: int, topics: int) -> None:
        self.weights, self._first, self._second = (np.zeros((features, topics), np.float32) for _ in range(3))
        self.bias = np.zeros(topics, np.float32)
        self._steps = 0

    def descend(self, rows: Sequence[Row], target: NDArray[np.int64], weight: Floats, rate: float) -> None:
        """One step over the rows of the weights that a batch touches."""
        self._steps += 1
        places = np.concatenate([p for p, _ in rows])
        owner = np.repeat(np.arange(len(rows)), [len(p) for p, _ in rows])
        used, inverse = np.unique(places, return_inverse=True)
        batch = np.zeros((len(rows), len(used)), np.float32)
        batch[owner, inverse] = np.concatenate([v for _, v in rows])
        error = _softmax(batch @ self.weights[used] + self.bias)
        error[np.arange(len(rows)), target] -= 1.0
        error *= (weight / weight.sum())[:, None]
        gradient = batch.T @ error + 2 * DECAY * self.weights[used]
        self._first[used] = 0.9 * self._first[used] + 0.1 * gradient
        self._second[used] = 0.999 * self._second[used] + 0.001 * gradient**2
        mean = self._first[used] / (1 - 0.9**self._steps)
        square = self._second[used] / (1 - 0.999**self._steps)
        self.weights[used] -= np.float32(rate) * mean / (np.sqrt(square) + 1e-8)
        self.bias -= np.float32(rate) * error.sum(axis=0)


def _softmax(values: Floats) -> Floats:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--also", type=Path, help="labelled questions to learn from too")
    parser.add_argument("--write", type=Path, default=MODEL)
    asked = parser.parse_args()
    knowledge = kb.load()
    concepts = Concepts(knowledge.concepts.items())
    examples = list(own_examples(knowledge))
    if asked.also:
        examples += [Example(q["text"], q["category"]) for q in labelled(asked.also)]
    data = train(examples, [seen(e.text, concepts) for e in examples], list(knowledge.topics)).packed()
    asked.write.write_bytes(data)
    print(f"{len(examples):,} texts, {len(data):,} bytes in {asked.write}")


if __name__ == "__main__":
    main()
