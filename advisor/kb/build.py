"""Knowledge files -> Knowledge, through YAML and the schema, collecting every problem before giving up.

Loading goes through `load`, which keeps the result; here it is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from glob import escape, glob
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from advisor import condition as conditions
from advisor.errors import ConditionError, Problem
from advisor.kb import schema
from advisor.kb.case import Case
from advisor.kb.yamlfile import YamlFile, read
from advisor.models import (
    Condition,
    FactSpec,
    Faq,
    FaqItem,
    Knowledge,
    KnownError,
    Measurement,
    Premise,
    Reference,
    Remedy,
    Rule,
    Text,
    Topic,
    When,
)
from advisor.text import parse_phrase

T = TypeVar("T", bound=schema.Strict)
_HINTS = {
    "extra_forbidden": "unknown key; remove it or correct the spelling",
    "missing": "is missing; add it",
}


class Loader:
    """Reads a knowledge folder; `problems` and `files` are kept for `lint` and the gate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[Problem] = []
        self.files: dict[str, YamlFile] = {}
        self._parsed: dict[str, Condition] = {}

    def knowledge(self) -> Knowledge:
        """Everything in the folder; entries with problems are left out and noted in `problems`."""
        facts = self._one("facts.yaml", schema.FactsFile)
        topics = self._one("topics.yaml", schema.TopicsFile)
        cited = self._one("references.yaml", schema.ReferencesFile)
        references = map(_reference, cited.references if cited else ())
        terms = self._one("terms.yaml", schema.TermsFile)
        concepts = self._one("concepts.yaml", schema.ConceptsFile)
        model = self.folder / "topics.bin"
        trained = model.read_bytes() if model.is_file() else b""
        premises = self._one("premises.yaml", schema.PremisesFile)
        errors = self._one("errors.yaml", schema.ErrorsFile)
        rules = self._folder("rules", schema.RuleFile, self._rule)
        faqs = self._folder("faq", schema.FaqFile, lambda f, _: _faq(f))
        return Knowledge(
            version=facts.version if facts else "",
            hash=self._hash(trained),
            facts=self._by("facts.yaml", "facts", map(_fact, facts.facts if facts else ()), lambda f: f.name),
            rules=rules,
            topics=self._by("topics.yaml", "topics", map(_topic, topics.topics if topics else ()), lambda t: t.id),
            references=self._by("references.yaml", "references", references, lambda r: r.id),
            faqs=faqs,
            measurements=tuple(map(_measurement, facts.measurements if facts else ())),
            terms={k: _text(v) for k, v in terms.terms.items()} if terms else {},
            concepts=concepts.concepts if concepts else {},
            topic_model=trained,
            premises=self._by(
                "premises.yaml", "premises", map(_premise, premises.premises if premises else ()), lambda p: p.id
            ),
            errors=self._by("errors.yaml", "errors", map(_error, errors.errors if errors else ()), lambda e: e.id),
        )

    def cases(self) -> dict[str, tuple[Case, ...]]:
        """The cases in every rule file that was read, by the id of the rule."""
        found = {}
        for file in (f for f in self.files.values() if f.name.startswith("rules/")):
            data = read(file.path, file.name)[1]
            if not isinstance(data, dict):
                continue
            valid = self._model(file, {"cases": data.get("cases", [])}, schema.CasesFile)
            found[str(data.get("id"))] = tuple(map(_case, valid.cases)) if valid else ()
        return found

    def _hash(self, model: bytes) -> str:
        """The content of all files that were read and of the model, in 16 hexadecimal digits."""
        content = hashlib.sha256(model)
        for name, file in sorted(self.files.items()):
            content.update(name.encode() + b"\0" + file.digest)
        return content.hexdigest()[:16]

    def _one(self, name: str, model: type[T]) -> T | None:
        if not (self.folder / name).is_file():
            self.problems.append(Problem(name, 1, "is missing; a knowledge folder needs it"))
            return None
        return self._validate(name, model)

    def _validate(self, name: str, model: type[T]) -> T | None:
        file, data = read(f"{self.folder}/{name}", name)
        self.files[name] = file
        self.problems += file.problems
        if data is None:
            if not file.problems:
                self.problems.append(Problem(file.name, 1, "is empty"))
            return None
        if model is schema.RuleFile and isinstance(data, dict):
            data = {key: value for key, value in data.items() if key != "cases"}
        return self._model(file, data, model)

    def _model(self, file: YamlFile, data: Any, model: type[T]) -> T | None:
        try:
            return model.model_validate(data)
        except ValidationError as error:
            self.problems += [_problem(file, e) for e in error.errors(include_url=False, include_context=False)]
            return None

    def _folder(self, name: str, model: type[T], build: Callable[[T, YamlFile], Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        skipped = len(str(self.folder)) + 1
        for path in sorted(glob(f"{escape(str(self.folder))}/{name}/**/*.yaml", recursive=True)):
            valid = self._validate(path[skipped:], model)
            if valid is None:
                continue
            file, stem = self.files[path[skipped:]], path.rpartition("/")[2].removesuffix(".yaml")
            item = build(valid, file)
            if item.id != stem:
                self.problems.append(file.problem(("id",), f"id {item.id!r} differs from the file name {stem!r}"))
            if item.id in found:
                self.problems.append(file.problem(("id",), f"id {item.id!r} exists twice; rename one"))
            found[item.id] = item
        return found

    def _by(self, file: str, section: str, items: Iterable[Any], key: Callable[[Any], str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for i, item in enumerate(items):
            if key(item) in found:
                self.problems.append(self.files[file].problem((section, i), f"{key(item)!r} exists twice; keep one"))
            found[key(item)] = item
        return found

    # --- rules ---

    def _rule(self, rule: schema.RuleFile, file: YamlFile) -> Rule:
        return Rule(
            id=rule.id,
            area=Path(file.name).parent.name,
            topic=rule.topic,
            status=rule.status,
            severity=rule.severity,
            confidence=rule.confidence,
            title=_text(rule.title),
            meaning=_text(rule.meaning),
            impact=_text(rule.impact),
            finding=_text(rule.finding),
            applies=self._parse_all(rule.applies, file, ("applies",)),
            when=self._when(rule.when, file),
            remedies=tuple(self._remedy(r, file, ("remedies", i)) for i, r in enumerate(rule.remedies)),
            references=tuple(rule.references),
            explains=tuple(rule.explains),
            gain=rule.gain,
            seed=tuple(rule.seed),
        )

    def _when(self, when: schema.WhenFile, file: YamlFile) -> When:
        def group(name: str, leaves: list[schema.Leaf], *inner: str) -> tuple[Condition, ...]:
            parsed = (self._leaf(leaf, file, ("when", name, *inner, i, "is")) for i, leaf in enumerate(leaves))
            return tuple(c for c in parsed if c)

        if not (when.all or when.any or when.at_least):
            self.problems.append(file.problem(("when",), "needs at least one of all, any and at_least"))
        some = when.at_least
        return When(
            all=group("all", when.all),
            any=group("any", when.any),
            at_least=group("at_least", some.of, "of") if some else (),
            count=some.count if some else 0,
            none=group("none", when.none),
        )

    def _leaf(self, leaf: schema.Leaf, file: YamlFile, where: tuple[str | int, ...]) -> Condition | None:
        parsed = self._parse(leaf.is_, file, where)
        if parsed is None:
            return None
        return Condition(
            parsed.text,
            parsed.fact,
            parsed.op,
            parsed.value,
            parsed.over,
            parsed.other,
            parsed.factor,
            leaf.from_,
            leaf.judgement,
            leaf.means,
        )

    def _remedy(self, remedy: schema.RemedyFile, file: YamlFile, where: tuple[str | int, ...]) -> Remedy:
        verify = self._parse(remedy.verify, file, (*where, "verify"))
        return Remedy(
            id=remedy.id,
            do=_text(remedy.do),
            effort=remedy.effort,
            risk=_text(remedy.risk),
            not_when=_text(remedy.not_when),
            verify=verify or Condition(remedy.verify, "", "is known"),
            rollback=_text(remedy.rollback),
            applies=self._parse_all(remedy.for_, file, (*where, "for")),
            knob=remedy.knob,
            direction=remedy.direction,
            to=remedy.to,
            setting=remedy.setting,
            gain=remedy.gain,
        )

    def _parse_all(self, texts: list[str], file: YamlFile, where: tuple[str | int, ...]) -> tuple[Condition, ...]:
        parsed = (self._parse(text, file, (*where, i)) for i, text in enumerate(texts))
        return tuple(c for c in parsed if c)

    def _parse(self, text: str, file: YamlFile, where: tuple[str | int, ...]) -> Condition | None:
        parsed = self._parsed.get(text)  # many rules share a condition
        if parsed is not None:
            return parsed
        try:
            return self._parsed.setdefault(text, conditions.parse(text))
        except ConditionError as error:
            self.problems.append(file.problem(where, str(error)))
            return None


def _problem(file: YamlFile, error: Mapping[str, Any]) -> Problem:
    location = tuple(error["loc"])
    path = ".".join(str(p) for p in location)
    hint = _HINTS.get(error["type"])
    what = f"{path}: {hint}" if hint else f"{path}: {error['msg']}, got {str(error.get('input'))[:60]!r}"
    return file.problem(location, what)


def _text(text: schema.TextFile) -> Text:
    return Text(text.en, text.zh)


def _fact(fact: schema.FactFile) -> FactSpec:
    low, high = fact.range or (None, None)
    kinds: dict[str, Literal["bool", "string", "version"]] = {
        "{bool}": "bool",
        "{string}": "string",
        "{version}": "version",
    }
    return FactSpec(
        name=fact.name,
        unit=fact.unit,
        type=kinds.get(fact.unit, "number"),
        description=fact.about,
        label=_text(fact.label) if fact.label else None,
        ask=_text(fact.ask) if fact.ask else None,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        better=fact.better,
        working=_text(fact.working) if fact.working else None,
        sources=tuple(fact.sources),
    )


def _topic(topic: schema.TopicFile) -> Topic:
    return Topic(
        id=topic.id,
        group=topic.group,
        title=_text(topic.title),
        definition=_text(topic.definition),
        phrases=tuple(topic.phrases),
        in_scope=not topic.id.startswith("oos_"),
        triage=_text(topic.triage) if topic.triage else None,
    )


def _reference(reference: schema.ReferenceFile) -> Reference:
    r = reference
    return Reference(r.id, r.title, r.url, r.publisher, r.used_for, r.read)


def _premise(p: schema.PremiseFile) -> Premise:
    phrases = tuple(map(parse_phrase, p.says))
    return Premise(p.id, phrases, p.topic, _text(p.correction), tuple(p.rules), tuple(p.references))


def _error(error: schema.ErrorFile) -> KnownError:
    return KnownError(error.id, tuple(map(parse_phrase, error.says)), error.topic, error.rule)


def _measurement(m: schema.MeasurementFile) -> Measurement:
    covers = frozenset(m.covers)
    return Measurement(m.id, _text(m.title), _text(m.why), m.command, float(m.minutes), m.source, covers, m.phase)


def _case(case: schema.CaseFile) -> Case:
    facts = {k: float(v) if isinstance(v, int) and not isinstance(v, bool) else v for k, v in case.facts.items()}
    return Case(case.name, case.expect, facts, tuple(case.missing), case.by)


def _faq(faq: schema.FaqFile) -> Faq:
    items = tuple(
        FaqItem(i.id, _text(i.text), _text(i.correction) if i.correction else None, tuple(i.rules)) for i in faq.items
    )
    return Faq(
        faq.id,
        _text(faq.question),
        _text(faq.lead),
        items,
        tuple(faq.phrases),
        tuple(faq.topics),
        tuple(faq.references),
        tuple(faq.seed),
    )
