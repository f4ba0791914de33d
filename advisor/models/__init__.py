"""The frozen dataclasses that cross stages.

Readings become one Profile; rules are matched against it; the result is a
Diagnosis; an Answer renders it. Nothing here computes: these are the words of
the design, and they are kept few and stable.

Both languages travel together in `Text` until the very end, where a face picks
one (Traditional Chinese is converted from Simplified there).
"""

from advisor.models.concluded import (
    Advice,
    Answer,
    Diagnosis,
    Evidence,
    Expected,
    Finding,
    Gain,
    Incomplete,
    NearMiss,
    NextMeasurement,
    Scored,
    Unjudged,
)
from advisor.models.known import (
    Condition,
    FactSpec,
    Faq,
    FaqItem,
    Knowledge,
    Measurement,
    Reference,
    Remedy,
    Rule,
    Topic,
    When,
)
from advisor.models.measured import (
    Contradiction,
    Fact,
    Profile,
    Reading,
    Series,
    Source,
)
from advisor.models.words import (
    CONFIDENCES,
    LANGS,
    PASTED,
    SEVERITIES,
    AnswerKind,
    Confidence,
    Lang,
    Outcome,
    Severity,
    SourceState,
    Status,
    Text,
    Value,
    Values,
    Verdict,
)

__all__ = [
    "CONFIDENCES",
    "LANGS",
    "PASTED",
    "SEVERITIES",
    "Advice",
    "Answer",
    "AnswerKind",
    "Condition",
    "Confidence",
    "Contradiction",
    "Diagnosis",
    "Evidence",
    "Expected",
    "Fact",
    "FactSpec",
    "Faq",
    "FaqItem",
    "Finding",
    "Gain",
    "Incomplete",
    "Knowledge",
    "Lang",
    "Measurement",
    "NearMiss",
    "NextMeasurement",
    "Outcome",
    "Profile",
    "Reading",
    "Reference",
    "Remedy",
    "Rule",
    "Scored",
    "Series",
    "Severity",
    "Source",
    "SourceState",
    "Status",
    "Text",
    "Topic",
    "Unjudged",
    "Value",
    "Values",
    "Verdict",
    "When",
]
