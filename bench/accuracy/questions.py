"""How often the topic of a question is told: labelled questions, none of which the model has seen (cross-validation).

For every fold a model is trained on the project's own questions and the other folds, and the whole path of an answer
is taken with it. A plain BM25 search over the same knowledge stands beside it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advisor import kb
from advisor.answer import Responder, understand
from advisor.answer.features import Concepts
from advisor.answer.search import Index, topic_scores
from advisor.answer.understand import normalise
from bench.accuracy.outcome import Share
from bench.topic_model import Example, labelled, own_examples, seen, train

LABELLED = Path(__file__).resolve().parents[3] / "shared" / "questions" / "dev.yaml"
FOLDS = 5
TOP_ONE, TOP_THREE, DECLINED, WRONGLY, APART = 0.85, 0.95, 0.95, 0.03, 0.05


@dataclass(frozen=True)
class Told:
    """What was said of one question: the best topics, whether it was declined, and the topics that are right."""

    question: dict[str, Any]
    topics: tuple[str, ...]
    declined: bool

    def among(self, count: int) -> bool:
        """Whether one of the best `count` topics is right."""
        right = {self.question["category"], *self.question.get("acceptable", ())}
        return not right.isdisjoint(self.topics[:count])

    @property
    def outside(self) -> bool:
        """Whether the question is out of scope."""
        return str(self.question["category"]).startswith("oos_")

    @property
    def chinese(self) -> bool:
        """Whether it is asked in Chinese."""
        return str(self.question["lang"]).startswith("zh")


def fold(question: dict[str, Any]) -> int:
    """The part of the questions that one belongs to, by its id."""
    return zlib.crc32(str(question["id"]).encode()) % FOLDS


def validated(questions: Sequence[dict[str, Any]]) -> list[Told]:
    """Every question, answered with a model that was trained without its fold."""
    knowledge = kb.load()
    concepts = Concepts(knowledge.concepts.items())
    own = list(own_examples(knowledge))
    features = [seen(e.text, concepts) for e in own]
    asked = [seen(q["text"], concepts) for q in questions]
    found = []
    for held_back in range(FOLDS):
        rest = [i for i, q in enumerate(questions) if fold(q) != held_back]
        examples = [*own, *(Example(questions[i]["text"], questions[i]["category"]) for i in rest)]
        model = train(examples, [*features, *(asked[i] for i in rest)], list(knowledge.topics)).packed()
        responder = Responder(replace(knowledge, topic_model=model))
        found += [told(q, responder) for q in questions if fold(q) == held_back]
    return found


def baseline(questions: Sequence[dict[str, Any]]) -> list[Told]:
    """The topics that plain BM25 finds; it declines when the best is out of scope."""
    knowledge = kb.load()
    index = Index(knowledge)
    found = []
    for question in questions:
        topics = tuple(t.id for t in topic_scores(index.search(normalise(question["text"])), knowledge))
        found.append(Told(question, topics, declined=topics[0].startswith("oos_")))
    return found


def told(question: dict[str, Any], responder: Responder) -> Told:
    """One question, without a profile."""
    answer = responder.answer(understand(question["text"]), None)
    return Told(question, tuple(t.id for t in answer.topics), answer.kind == "out_of_scope")


def share(found: Sequence[Told], holds: Callable[[Told], bool]) -> Share:
    """How many of them hold."""
    return Share(sum(map(holds, found)), len(found))


def table(found: dict[str, list[Told]]) -> list[str]:
    """Lines of Markdown: a column for each way to tell."""
    rows: dict[str, Callable[[list[Told]], Share]] = {
        "right topic first": lambda all_: share(all_, lambda t: t.among(1)),
        "right topic among three": lambda all_: share(all_, lambda t: t.among(3)),
        "English, first": lambda all_: share([t for t in all_ if not t.chinese], lambda t: t.among(1)),
        "Chinese, first": lambda all_: share([t for t in all_ if t.chinese], lambda t: t.among(1)),
        "out of scope, declined": lambda all_: share([t for t in all_ if t.outside], lambda t: t.declined),
        "in scope, declined": lambda all_: share([t for t in all_ if not t.outside], lambda t: t.declined),
    }
    lines = ["|  | " + " | ".join(found) + " |", "| --- |" + " --- |" * len(found)]
    return [
        *lines,
        *(f"| {name} | " + " | ".join(str(row(f)) for f in found.values()) + " |" for name, row in rows.items()),
    ]


def missed(found: Sequence[Told]) -> list[str]:
    """Every goal that was not reached."""
    first, three = share(found, lambda t: t.among(1)), share(found, lambda t: t.among(3))
    english = share([t for t in found if not t.chinese], lambda t: t.among(1))
    chinese = share([t for t in found if t.chinese], lambda t: t.among(1))
    declined = share([t for t in found if t.outside], lambda t: t.declined)
    wrongly = share([t for t in found if not t.outside], lambda t: t.declined)
    goals = {
        f"right topic first {first}, not {TOP_ONE:.0%}": first.value >= TOP_ONE,
        f"among three {three}, not {TOP_THREE:.0%}": three.value >= TOP_THREE,
        f"Chinese {chinese}, more than 5 points from English {english}": abs(chinese.value - english.value) <= APART,
        f"out of scope declined {declined}, not {DECLINED:.0%}": declined.value >= DECLINED,
        f"in scope declined {wrongly}, more than {WRONGLY:.0%}": wrongly.value <= WRONGLY,
    }
    return [said for said, reached in goals.items() if not reached]


def report(path: Path = LABELLED) -> tuple[list[str], list[str]]:
    """The table and the goals that were missed; a sentence when there are no labelled questions."""
    if not path.is_file():
        return [f"No labelled questions in {path.name}; give a list of `id`, `lang`, `text`, `category`."], []
    questions = labelled(path)
    found = {"advisor, cross-validated": validated(questions), "BM25 alone": baseline(questions)}
    note = f"{len(questions)} questions of people, {FOLDS} folds; right is what the label or its alternatives say."
    return [note, "", *table(found)], missed(found["advisor, cross-validated"])
