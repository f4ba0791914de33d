"""Scripted conversations: what people say, in their order, and what must hold of every answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from starved import STARVED

from advisor.models import Answer
from advisor.pipeline import Advisor

FOLDER = Path(__file__).with_name("conversations")
CONVERSATIONS = {c["id"]: c for f in sorted(FOLDER.glob("*.yaml")) for c in yaml.safe_load(f.read_text("utf-8"))}
PROFILES = {"starved": {"subject": "python train.py", "facts": STARVED}}


@pytest.fixture(scope="module")
def advisor(tmp_path_factory: pytest.TempPathFactory) -> Advisor:
    return Advisor(data=tmp_path_factory.mktemp("data"))


def answers(advisor: Advisor, conversation: dict[str, Any]) -> list[Answer]:
    said = [turn["say"] for turn in conversation["turns"]]
    attached = PROFILES.get(conversation.get("profile", ""))
    diagnosis = advisor.diagnose(attached) if attached else None
    return [
        advisor.ask_about(message, diagnosis, history=said[:i]) if diagnosis else advisor.ask(message, history=said[:i])
        for i, message in enumerate(said)
    ]


def faults(answer: Answer, turn: dict[str, Any]) -> list[str]:
    """What does not hold of an answer."""
    asked = sum(bool(i.get("question")) for b in answer.blocks if b["kind"] == "missing" for i in b["items"])
    text = answer.text.replace("\\", "") if "\\" not in "".join(turn.get("has", [])) else answer.text
    held = {
        "kind": answer.kind == turn.get("kind", answer.kind),
        "lang": answer.lang == turn.get("lang", answer.lang),
        "topic": answer.topics[0].id in turn.get("topic", [answer.topics[0].id]),
        "rules": set(turn.get("rules", [])) <= set(answer.rules),
        "rules_not": not set(turn.get("rules_not", [])) & set(answer.rules),
        "has": all(part in text for part in turn.get("has", [])),
        "not": not any(part in text for part in turn.get("not", [])),
        "questions": asked == turn.get("questions", asked),
    }
    return [
        f"{turn['say']!r}: {what} should be {turn[what]!r}; it is {answer.kind}, {answer.lang}, "
        f"{[t.id for t in answer.topics[:2]]}, {answer.rules}, {answer.text[:400]!r}"
        for what, holds in held.items()
        if not holds
    ]


def all_faults(advisor: Advisor, name: str) -> list[str]:
    conversation = CONVERSATIONS[name]
    found = answers(advisor, conversation)
    return [f for answer, turn in zip(found, conversation["turns"], strict=True) for f in faults(answer, turn)]


@pytest.mark.parametrize("name", sorted(CONVERSATIONS))
def test_a_conversation_goes_as_it_should(advisor: Advisor, name: str) -> None:
    assert all_faults(advisor, name) == []


def test_there_are_sixty_conversations_in_both_languages() -> None:
    chinese = [i for i, c in CONVERSATIONS.items() if any("\u4e00" <= x <= "\u9fff" for x in c["turns"][0]["say"])]

    assert len(CONVERSATIONS) >= 60
    assert 0.4 <= len(chinese) / len(CONVERSATIONS) <= 0.6
    assert all(set(turn) - {"say"} for c in CONVERSATIONS.values() for turn in c["turns"])


@pytest.mark.parametrize("name", ["own-en", "correction-zh", "topic-change-en"])
def test_the_same_history_gives_the_same_bytes_on_any_replica(name: str, tmp_path: Path) -> None:
    first, second = Advisor(data=tmp_path / "a"), Advisor(data=tmp_path / "b")
    conversation = CONVERSATIONS[name]
    documents = [
        [repr(a.answer_document(x)) for x in answers(a, {**conversation, "profile": ""})] for a in (first, second)
    ]

    assert documents[0] == documents[1]
