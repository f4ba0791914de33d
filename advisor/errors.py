"""The exception tree of advisor.

    AdvisorError                 anything a person can be told in one sentence: what, where, what next
    ├── InputError               a file, question or request that cannot be used (exit status 2, HTTP 4xx)
    │   └── TooLarge             the input is over a stated limit (HTTP 413)
    ├── NotFound                 a rule, profile or diagnosis that is not there (exit status 2, HTTP 404)
    ├── ConditionError           a condition that does not parse or whose types do not fit
    └── KnowledgeError           one or more problems in the knowledge base; carries all of them

Everything else that is raised is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class AdvisorError(Exception):
    """One sentence for a person: what is wrong, where, and what to do next."""


class InputError(AdvisorError):
    """The input cannot be used."""


class TooLarge(InputError):
    """The input is over a stated limit."""


class NotFound(AdvisorError):
    """Nothing has that name here."""


class ConditionError(AdvisorError):
    """A condition does not parse, or its types do not fit the fact vocabulary."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One defect of the knowledge base, printed as ``file:line: what, what next``."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


class KnowledgeError(AdvisorError):
    """The knowledge base has problems; `problems` holds every one of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(p) for p in self.problems))
