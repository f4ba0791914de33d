"""The closed lists of words (languages, severities, outcomes) and bilingual text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PASTED = "the pasted text"  # where facts come from that stand in a message
STATED = "stated in the question"  # and where those come from that a person says in words

Lang = Literal["en", "zh-Hans", "zh-Hant"]
LANGS: tuple[Lang, ...] = ("en", "zh-Hans", "zh-Hant")

Value = float | bool | str
# What to look for in a text: parts that follow each other, each one of several words.
Phrase = tuple[tuple[str, ...], ...]
Values = Mapping[str, Value]

SourceState = Literal["ok", "absent", "denied", "timeout", "unreadable"]
Severity = Literal["minor", "moderate", "serious", "critical"]
Confidence = Literal["low", "medium", "high"]
Status = Literal["experimental", "stable", "deprecated"]
Outcome = Literal["matched", "cleared", "incomplete", "inapplicable", "error"]
Verdict = Literal["bottleneck", "healthy", "inconclusive"]
AnswerKind = Literal["diagnosis", "knowledge", "calculation", "clarify", "out_of_scope"]

SEVERITIES: tuple[Severity, ...] = ("minor", "moderate", "serious", "critical")
CONFIDENCES: tuple[Confidence, ...] = ("low", "medium", "high")


@dataclass(frozen=True)
class Text:
    """One text in English and Simplified Chinese."""

    en: str
    zh: str

    def get(self, lang: Lang) -> str:
        """The text in `lang`; Traditional Chinese is converted later, by `text.localise`."""
        return self.en if lang == "en" else self.zh
