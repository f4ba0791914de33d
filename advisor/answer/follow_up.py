"""What a short message asks of the answer before it: why, how, the next one, in Chinese, start over.

Each pattern must be the whole message, so that a question of its own is never taken for one of these.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from advisor.answer.phrases import ASPECTS, LANGUAGES, Aspect
from advisor.models import Lang

SOCIAL: frozenset[Aspect] = frozenset(["greeting", "thanks", "restart", "unclear"])

_ASIDE = re.compile(
    r"^(?:(?:ok(?:ay)?|well|hm+|so|but|and|then|please|can you|could you"
    r"|好的?|嗯|那么?|那就|所以|但是?|请|麻烦你?)[ ,，。.!]*)+"
)
_TAIL = re.compile(r"(?:[ ,]+(?:please|then|again|now))?[\s?!.。，,…~]*$")

_ORDINALS = {
    "first": 0, "1st": 0, "second": 1, "2nd": 1, "third": 2, "3rd": 2, "fourth": 3, "4th": 3, "fifth": 4, "5th": 4,
    "last": -1, "一": 0, "1": 0, "二": 1, "2": 1, "两": 1, "三": 2, "3": 2, "四": 3, "4": 3, "五": 4, "5": 4,
}  # fmt: skip
_NEXT = r"""
    (?:the |show (?:me )?(?:the )?|what about the )?next(?: (?:one|cause|reason|finding))?
    下一(?:个|条|项)(?:呢|原因)?
"""
_ONE = "(?: (?:one|cause|reason|finding|point|option))?"
_NTH = rf"""
    (?:and |what about |show (?:me )?|explain |tell me about )*(?:the )?(first|second|third|fourth|fifth|last){_ONE}
    (?:and |what about |show (?:me )?|explain |tell me about )*the ([1-5](?:st|nd|rd|th)){_ONE}
    (?:number|no\.?|#) ?([1-5])
    (?:看看|说说|讲讲|解释一?下?)?第([一二两三四五1-5])(?:个|条|项|点|种)(?:原因|可能)?(?:呢|是什么意思)?
"""
_X = r"(?:the |a |my |our )?([\w \u3400-\u9fff/.+-]{1,40}?)"
_BLAME = "(?:的?(?:问题|原因|瓶颈))?(?:呢|吗|吧)?"
_CHECK = rf"""
    (?:so )?why (?:is it )?not (?:be )?{_X}
    why (?:isn'?t|is not) it {_X}
    (?:is it|isn'?t it|could it be|might it be|can it be|is this) (?:not )?{_X}(?: problem)?
    are you sure (?:that )?(?:it'?s|it is) not {_X}
    (?:what|how) about {_X}
    (?:会)?(?:为什么|为啥|怎么)不(?:会)?是{_X}{_BLAME}
    (?:会不会是|是不是|难道是|难道不是|不会是|不是|会是){_X}{_BLAME}
    (?:确定|肯定)不是{_X}{_BLAME}
    那?(?:如果是|换成)?{_X}呢
"""
LONGEST = 80  # characters: a follow-up is short
WISH = 40  # characters within which a wish for a language stands, first or last


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What is asked of the answer before; `place` is which of its causes (None: the one it is about, -1: the last).

    `step` moves to a later cause; `thing` is what a "check" asks after.
    """

    aspect: Aspect
    place: int | None = None
    step: int = 0
    thing: str = ""


def follow_up(plain: str) -> FollowUp | None:
    """What normalised text asks of the answer before it, None when it does not.

    >>> follow_up("why not the disk?")
    FollowUp(aspect='check', place=None, step=0, thing='disk')
    >>> follow_up("why is my training slow?") is None
    True
    """
    if len(plain) > LONGEST:
        return None
    whole = _TAIL.sub("", plain)
    for text in dict.fromkeys((whole, _ASIDE.sub("", whole))):
        found = _read(text)
        if found:
            return found
    return None


def _read(text: str) -> FollowUp | None:
    if not text:
        return None
    if _compiled(_NEXT).fullmatch(text):
        return FollowUp("next", step=1)
    if nth := _compiled(_NTH).fullmatch(text):
        return FollowUp("next", place=_ORDINALS[next(g for g in nth.groups() if g)])
    aspect = next((aspect for aspect, lines in ASPECTS.items() if _compiled(lines).fullmatch(text)), None)
    if aspect:
        return FollowUp(aspect)
    check = _compiled(_CHECK).fullmatch(text)
    return FollowUp("check", thing=next(g for g in check.groups() if g).strip()) if check else None


@functools.cache
def _compiled(lines: str, before: str = "", after: str = "") -> re.Pattern[str]:
    """One pattern of many lines; compiled when first needed, because a command that asks nothing must not wait."""
    return re.compile(f"{before}(?:{'|'.join(line.strip() for line in lines.strip().splitlines())}){after}")


def language_wish(plain: str) -> tuple[Lang | None, str]:
    """The language that normalised text asks for, and the rest of the text.

    >>> language_wish("in english please"), language_wish("用英文回答: 为什么慢")
    (('en', ''), ('en', '为什么慢'))
    """
    whole = _TAIL.sub("", _ASIDE.sub("", plain[:LONGEST])) if len(plain) <= LONGEST else ""
    for lang, lines in LANGUAGES.items():
        if _compiled(lines).fullmatch(whole):
            return lang, ""
    for lang, lines in LANGUAGES.items():
        if head := _compiled(lines, after=r"[ ,:.!。]{1,3}(?=\S)").match(plain):
            return lang, plain[head.end() :]
        start = max(0, len(plain) - WISH)
        last = _compiled(lines, r"(?<=\S)[ ,;.?!。(]{1,3}", r"(?: please)?[) .!。]{0,3}$")
        if tail := last.search(plain, start):
            return lang, plain[: tail.start()]
    return None, plain
