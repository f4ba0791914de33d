"""The conversation: what earlier messages leave behind, and how it makes a follow-up whole.

There is no session. The state is folded from the messages themselves, so that every replica and every face
gives the same answer to the same history.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from advisor.answer import replies
from advisor.answer.follow_up import SOCIAL, FollowUp, follow_up, language_wish
from advisor.answer.phrases import component
from advisor.answer.sizing.inputs import Value as Input
from advisor.answer.stated import read_stated
from advisor.answer.understand import Question, read_words, understand
from advisor.models import STATED, Fact, FactSpec, Lang
from advisor.text import has_chinese

STATEMENT = 90  # characters: a message that only states facts is short
FRAGMENT = 40
_FRAGMENT = re.compile(
    r"^(?:and|what about|how about|what if|with|but|on|for|if|那么?|如果|换成|要是|改成|假如|加上)\s?"
)
_CHINESE_FRAGMENT = re.compile(r"(?:呢|的话)[?\s。]*$")
_ASKING = re.compile(
    r"\?|\b(?:why|how|what|which|when|where|should|can|could|does|will)\b|^(?:is|are)\b"
    r"|为什么|怎么|如何|吗|呢|什么|多少|哪"
)
# Shares, times and rates are measurements of the trouble at hand; counts, sizes, names and switches outlast it.
_PASSING = frozenset(["1", "s", "By/s", "Cel", "W", "Hz", "{flop}/s"])


@dataclass(frozen=True, slots=True)
class Said:
    """A fact that was stated, and in which message (counted from 1)."""

    stated: Fact
    message: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What an answer leaves for the next message to refer to.

    `listed` are the causes it named, best first; `place` the one it is about; `asking` the fact it asked for.
    """

    topic: str | None = None
    listed: tuple[str, ...] = ()
    place: int = 0
    asking: str | None = None
    inputs: Mapping[str, Input] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """What the messages so far leave behind.

    `lang` is the language that was asked for, `spoken` the one last written in; `last` the last question, made
    whole; `ruled_out` the rules whose remedy was tried in vain.
    """

    messages: int = 0
    lang: Lang | None = None
    spoken: Lang = "en"
    last: Question | None = None
    shown: Shown = field(default_factory=Shown)
    facts: Mapping[str, Said] = field(default_factory=dict)
    ruled_out: tuple[str, ...] = ()

    def after(self, question: Question, shown: Shown) -> State:
        """The state after one more message, as `resolve` read it, and what its answer showed."""
        count = self.messages + 1
        base = replace(self, messages=count, lang=question.wish or self.lang, spoken=question.lang)
        if question.aspect == "restart":
            return State(messages=count, lang=base.lang, spoken=base.spoken)
        if question.aspect in SOCIAL:
            return base
        facts = {**self._kept(question), **{s.name: Said(s, count) for s in question.stated}}
        if not question.follows:
            return replace(base, last=question, shown=shown, facts=facts, ruled_out=())
        ruled_out = self.ruled_out
        if question.aspect == "failed" and self.focus:
            ruled_out = tuple(dict.fromkeys([*ruled_out, self.focus]))
        last = question if self.last else None  # "why?" alone is no question that could be followed
        kept = replace(shown, inputs=shown.inputs or self.shown.inputs, listed=shown.listed or self.shown.listed)
        return replace(base, last=last, shown=kept, facts=facts, ruled_out=ruled_out)

    @property
    def focus(self) -> str | None:
        """The rule that the last answer is about."""
        listed = self.shown.listed
        return listed[min(self.shown.place, len(listed) - 1)] if listed else None

    def known(self, question: Question) -> tuple[Fact, ...]:
        """The facts that hold for a question: those it states, and the earlier ones that still do."""
        facts = {name: said.stated for name, said in self._kept(question).items()}
        return tuple({**facts, **{s.name: s for s in question.stated}}.values())

    def _kept(self, question: Question) -> dict[str, Said]:
        if question.follows:
            return dict(self.facts)
        return {name: said for name, said in self.facts.items() if said.stated.unit not in _PASSING}


def resolve(message: str, state: State, specs: Mapping[str, FactSpec], lang: Lang | None = None) -> Question:
    """The question that a message is in its conversation, made whole.

    Args:
        message: what was sent, without a paste.
        state: what the messages before it leave behind.
        specs: the fact vocabulary; it says what a bare reply can mean.
        lang: the language to answer in when the person has asked for none.

    Raises:
        InputError, TooLarge: the message cannot be used.
    """
    whole = understand(message)
    wish, rest = language_wish(whole.plain)
    language = wish or state.lang or lang or _spoken(whole, state)
    if wish and not rest:
        again = state.last or replace(whole, aspect="greeting")
        return replace(again, lang=language, wish=wish, stated=(), follows=state.last is not None)
    plain = rest if wish else whole.plain
    whole = replace(read_words(whole.text, plain), lang=language, wish=wish, stated=read_stated(plain).facts)
    found = follow_up(plain)
    if found and (found.aspect in SOCIAL or _follows(found, state)):
        return _followed(found, whole, state)
    return _reply(whole, state, specs) or _fragment(whole, state) or whole


def _follows(found: FollowUp, state: State) -> bool:
    """Whether it is a follow-up; "is it X?" is one only after a question, and when X is a part that can be checked."""
    return found.aspect != "check" or (state.last is not None and component(found.thing) is not None)


def _followed(found: FollowUp, whole: Question, state: State) -> Question:
    if found.aspect in SOCIAL:
        return replace(whole, aspect=found.aspect)
    place = state.shown.place if found.place is None else found.place
    if found.place == -1:
        place = max(0, len(state.shown.listed) - 1)
    return replace(
        state.last or whole,
        text=whole.text,
        lang=whole.lang,
        wish=whole.wish,
        aspect=found.aspect,
        place=place + found.step,
        about=component(found.thing) or "",
        stated=(),
        follows=True,
        pasted=False,
    )


def _reply(whole: Question, state: State, specs: Mapping[str, FactSpec]) -> Question | None:
    """A bare reply to the question asked back, a correction, or a message that only states facts."""
    if state.last is None or len(whole.plain) > STATEMENT:
        return None
    corrected = replies.correction(whole.plain)
    stated = read_stated(corrected).facts if corrected else whole.stated
    asked = specs.get(state.shown.asking or "")
    if not stated and not asked and replies.bare(whole.plain):
        return replace(whole, aspect="unclear")
    if not stated and asked:
        if replies.unknown(whole.plain):
            return _again(whole, state, ())
        value = replies.reply_value(whole.plain, asked)
        stated = () if value is None else (Fact(asked.name, value, asked.unit, STATED),)
    if not stated and corrected:
        stated = _same_again(corrected, state)
    only_states = (
        bool(stated) and (corrected or not _ASKING.search(whole.plain)) and not whole.symptom and not whole.error
    )
    return _again(whole, state, stated) if stated and (only_states or not whole.stated) else None


def _same_again(corrected: str, state: State) -> tuple[Fact, ...]:
    """A number alone corrects the number that was stated last."""
    value = replies.number(corrected) if len(corrected) <= replies.SHORT else None
    numbers = [s for s in state.facts.values() if isinstance(s.stated.value, float)]
    if value is None or not numbers:
        return ()
    last = max(numbers, key=lambda s: s.message).stated
    return (replace(last, value=value / 100 if last.unit == "1" and value > 1 else value),)


def _again(whole: Question, state: State, stated: tuple[Fact, ...]) -> Question:
    """The last question once more, with new facts."""
    assert state.last is not None
    return replace(
        state.last,
        text=whole.text,
        lang=whole.lang,
        wish=whole.wish,
        aspect="all",
        stated=stated,
        follows=True,
        added=whole.plain,
    )


def _fragment(whole: Question, state: State) -> Question | None:
    """Half a question ("and on 8 GPUs?", "那多机呢"): the other half is the last one."""
    last = state.last
    if last is None or len(whole.plain) > FRAGMENT:
        return None
    head = _FRAGMENT.match(whole.plain)
    if not head and not _CHINESE_FRAGMENT.search(whole.plain):
        return None
    rest = whole.plain[head.end() :] if head else whole.plain
    if re.search(r"\b(?:why|how|which|what|is|are|does|slow(?:er)?)\b|为什么|怎么|如何|慢", rest):
        return None
    plain = f"{whole.plain} {last.plain}"
    return replace(
        last,
        text=whole.text,
        plain=plain,
        lang=whole.lang,
        wish=whole.wish,
        aspect="all",
        stated=(),
        follows=True,
        added=rest,
    )


def _spoken(whole: Question, state: State) -> Lang:
    """The language of a message; of one or two bare words, that of the conversation."""
    bare = state.messages > 0 and not has_chinese(whole.plain) and len(whole.plain.split()) <= 2
    return state.spoken if bare else whole.lang
