"""Facts, conditions and terms in the words of one language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advisor.models import Condition, Knowledge, Lang, Reference, Text, Value
from advisor.text import PLACEHOLDER, label, localise, quantity

Block = Mapping[str, Any]
_SIGNS = {">=": "≥", "<=": "≤", "!=": "≠", "==": "="}


class Words:
    """Everything a block says, in one language."""

    def __init__(self, knowledge: Knowledge, lang: Lang) -> None:
        self.knowledge, self.lang = knowledge, lang

    def say(self, text: Text) -> str:
        """A text in this language and script."""
        return localise(text.get(self.lang), self.lang)

    def term(self, key: str, **values: object) -> str:
        """A term of terms.yaml, with its ``{names}`` filled in."""
        return localise(self.knowledge.terms[key].get(self.lang).format(**values), self.lang)

    def joined(self, *sentences: str) -> str:
        """Sentences one after the other, with a space where the language has one."""
        return (" " if self.lang == "en" else "").join(s for s in sentences if s)

    def template(self, text: str) -> str:
        """A template in general form: every fact by its label instead of a value."""
        return localise(PLACEHOLDER.sub(lambda m: f"<{self.label(m[1])}>", text), self.lang)

    def label(self, fact: str) -> str:
        """What a person reads for a fact."""
        return self.say(label(fact, self.knowledge.facts))

    def value(self, value: Value | tuple[Value, ...] | None, fact: str | None) -> str:
        """A value with the unit of `fact`; None for a ratio, which has none."""
        if value is None:
            return "–"
        if isinstance(value, tuple):
            return ", ".join(self.value(v, fact) for v in value)
        return quantity(value, self.knowledge.facts.get(fact) if fact else None, self.lang)

    def origin(self, text: str) -> str:
        """An origin, or a line of it, in this language where the terms name it; paths stay as they are."""
        name, colon, line = text.rpartition(":")
        for known, rest in ((text, ""), (name, colon + line)):
            if f"origin.{known}" in self.knowledge.terms:
                return self.term(f"origin.{known}") + rest
        return text

    def sign(self, op: str) -> str:
        """A comparison as a person writes it."""
        return {"in": self.term("op.in"), "contains": self.term("op.contains")}.get(op, _SIGNS.get(op, op))

    def condition(self, c: Condition) -> str:
        """A condition in words: label, comparison, limit with its unit."""
        name = self.label(c.fact) + (f" / {self.label(c.over)}" if c.over else "")
        if c.op == "is known":
            return f"{name} {self.term('op.known')}"
        if c.other:
            limit = ("" if c.factor == 1 else f"{c.factor:g} × ") + self.label(c.other)
        else:
            limit = self.value(c.value, None if c.over else c.fact)
        return f"{name} {self.sign(c.op)} {limit}"

    def link(self, reference: Reference) -> Block:
        """A source as a link: title, publisher, and the admission when nobody has read it."""
        named = reference.publisher.lower() in reference.title.lower()
        label = reference.title if named else f"{reference.title}, {reference.publisher}"
        return {"label": label if reference.read else f"{label} ({self.term('link.unread')})", "url": reference.url}

    def rule_link(self, rule_id: str) -> Block:
        """The page of a rule as a link."""
        return {"label": self.term("link.rule", rule=rule_id), "url": f"/rules/{rule_id}", "rule": rule_id}
