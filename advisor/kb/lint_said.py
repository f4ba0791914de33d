"""House rules of premises.yaml and errors.yaml: links lead somewhere, and every phrase is proven by an example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from advisor.errors import Problem
from advisor.kb.yamlfile import Path_, YamlFile, read
from advisor.models import Knowledge, KnownError, Phrase, Premise
from advisor.text import fold, has_chinese, says


def lint_said(knowledge: Knowledge, files: Mapping[str, YamlFile]) -> Iterator[Problem]:
    """All problems of the two files."""
    premises, errors = files.get("premises.yaml"), files.get("errors.yaml")
    for i, (premise, raw) in enumerate(zip(knowledge.premises.values(), _raw(premises, "premises"), strict=False)):
        yield from _premise(premise, raw, knowledge, premises, ("premises", i))
    for i, (error, raw) in enumerate(zip(knowledge.errors.values(), _raw(errors, "errors"), strict=False)):
        yield from _error(error, raw, knowledge, errors, ("errors", i))


def _raw(file: YamlFile | None, section: str) -> Sequence[Any]:
    """The entries with their examples, which only the gate looks at."""
    found: Sequence[Any] = read(file.path, file.name)[1][section] if file else ()
    return found


def _premise(
    premise: Premise, raw: Mapping[str, Any], knowledge: Knowledge, file: YamlFile | None, at: Path_
) -> Iterator[Problem]:
    assert file is not None
    yield from _topic(premise.topic, knowledge, file, at)
    for rule in premise.rules:
        if rule not in knowledge.rules:
            yield file.problem((*at, "rules"), f"unknown rule {rule!r}")
    for ref in premise.references:
        if ref not in knowledge.references:
            yield file.problem((*at, "references"), f"unknown reference {ref!r}; add it to references.yaml")
    if not has_chinese(premise.correction.zh) or has_chinese(premise.correction.en):
        yield file.problem((*at, "correction"), "needs English under en and Chinese under zh")
    yield from _examples(premise.phrases, raw, file, at)
    for i, text in enumerate(raw["but_not"]):
        if any(says(fold(text).lower(), phrase) for phrase in premise.phrases):
            yield file.problem((*at, "but_not", i), f"{text!r} fits a phrase; make the phrase narrower")


def _error(
    error: KnownError, raw: Mapping[str, Any], knowledge: Knowledge, file: YamlFile | None, at: Path_
) -> Iterator[Problem]:
    assert file is not None
    yield from _topic(error.topic, knowledge, file, at)
    if error.rule is not None and error.rule not in knowledge.rules:
        yield file.problem((*at, "rule"), f"unknown rule {error.rule!r}")
    yield from _examples(error.phrases, raw, file, at)


def _topic(topic: str, knowledge: Knowledge, file: YamlFile, at: Path_) -> Iterator[Problem]:
    if topic not in knowledge.topics:
        yield file.problem((*at, "topic"), f"unknown topic {topic!r}; topics.yaml has the list")


def _examples(phrases: Sequence[Phrase], raw: Mapping[str, Any], file: YamlFile, at: Path_) -> Iterator[Problem]:
    """Every example is recognised, and every phrase is needed for one."""
    texts = [fold(text).lower() for text in raw["examples"]]
    for i, text in enumerate(texts):
        if not any(says(text, phrase) for phrase in phrases):
            yield file.problem((*at, "examples", i), f"{text!r} fits no phrase")
    for i, phrase in enumerate(phrases):
        if not any(says(text, phrase) for text in texts):
            yield file.problem((*at, "says", i), f"{raw['says'][i]!r} has no example; add one or remove it")
