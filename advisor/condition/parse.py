"""Text -> Condition: one leaf, matched by one flat pattern."""

from __future__ import annotations

import re

from advisor.errors import ConditionError
from advisor.models import Condition, Value

MAX_LENGTH = 300

_NAME = r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LEAF = re.compile(
    rf"^(?P<fact>{_NAME})(?:\s*/\s*(?P<over>{_NAME}))?\s*"
    rf"(?:(?P<op>==|!=|>=|<=|>|<)\s*(?P<right>[^\s<>=!].*)|\s(?P<word>in|contains|is)\s+(?P<rest>\S.*))$"
)
_SCALED = re.compile(rf"^(?:(?P<factor>{_NUMBER})\s*\*\s*)?(?P<other>{_NAME})$")
_PLAIN_NUMBER = re.compile(rf"^{_NUMBER}$")


def parse(text: str) -> Condition:
    """Parse one leaf.

    >>> parse("process.thread.count > 2 * process.cpu.usable.count").other
    'process.cpu.usable.count'

    Raises:
        ConditionError: when `text` is not a leaf; the message says what one looks like.
    """
    found = _LEAF.match(text.strip()) if len(text) <= MAX_LENGTH else None
    if not found:
        raise ConditionError(
            f"{text[:80]!r} is not a condition; write 'fact op value', 'a / b > k', 'a < 0.5 * b', "
            "'fact in [x, y]', 'fact contains x' or 'fact is known'"
        )
    fact, over = found["fact"], found["over"]
    if found["word"]:
        return _parse_word(text, fact, over, found["word"], found["rest"].strip())
    right = found["right"].strip()
    scaled = _SCALED.match(right)
    if scaled:
        factor = float(scaled["factor"]) if scaled["factor"] else 1.0
        return Condition(text, fact, found["op"], over=over, other=scaled["other"], factor=factor)
    return Condition(text, fact, found["op"], literal(right), over=over)


def _parse_word(text: str, fact: str, over: str | None, word: str, rest: str) -> Condition:
    if over:
        raise ConditionError(f"{text!r}: a ratio can only be compared with a number")
    if word == "is":
        if rest != "known":
            raise ConditionError(f"{text!r}: the only test with 'is' is 'is known'")
        return Condition(text, fact, "is known")
    if word == "contains":
        return Condition(text, fact, "contains", str(literal(rest)))
    if not (rest.startswith("[") and rest.endswith("]")):
        raise ConditionError(f"{text!r}: write 'fact in [a, b]'")
    values = tuple(literal(part.strip()) for part in rest[1:-1].split(",") if part.strip())
    return Condition(text, fact, "in", values)


def literal(text: str) -> Value:
    """A number, ``true`` or ``false``, or text with or without quotes."""
    if _PLAIN_NUMBER.match(text):
        return float(text)
    if text in ("true", "false"):
        return text == "true"
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text
