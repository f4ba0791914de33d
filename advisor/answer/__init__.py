"""Questions -> answers, without a language model: understand, search, respond.

The same question and profile give the same answer. Every answer is built as blocks
(localised, numbers written out) and rendered as Markdown from those blocks.
"""

from advisor.answer.conversation import Shown, State, resolve
from advisor.answer.decision import Situation
from advisor.answer.hints import error_hints, false_premises
from advisor.answer.respond import Responder
from advisor.answer.stated import read_stated
from advisor.answer.understand import (
    MAX_MESSAGE,
    MAX_QUESTION,
    Question,
    clean_question,
    understand,
    understand_beside_paste,
)

__all__ = [
    "MAX_MESSAGE",
    "MAX_QUESTION",
    "Question",
    "Responder",
    "Shown",
    "Situation",
    "State",
    "clean_question",
    "error_hints",
    "false_premises",
    "read_stated",
    "resolve",
    "understand",
    "understand_beside_paste",
]
