"""The messages of a conversation, one after the other -> the last question, and what it meets.

Nothing is kept between two calls: the state is folded anew from the messages, so any replica answers alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from advisor.answer import (
    Question,
    Responder,
    Situation,
    State,
    clean_question,
    false_premises,
    resolve,
    understand_beside_paste,
)
from advisor.errors import AdvisorError, TooLarge
from advisor.models import STATED, Diagnosis, Fact, Lang, Reading, Source
from advisor.pipeline.diagnoser import Diagnoser

TRAINING = ("ml.step.", "ml.epoch.", "ml.dataloader.", "config.dataloader.num_workers")
MAX_HISTORY = 50  # messages
MAX_HISTORY_LENGTH = 500_000  # characters of all of them


@dataclass(frozen=True, slots=True)
class Talk:
    """What a conversation has come to: its state, and the diagnosis of what was pasted in it last."""

    state: State = field(default_factory=State)
    pasted: Diagnosis | None = None


class Conversation:
    """One conversation about `chosen`, about what is pasted or stated in it, or else about what `latest` gives."""

    def __init__(
        self,
        diagnoser: Diagnoser,
        responder: Responder,
        chosen: Diagnosis | None,
        latest: Callable[[], Diagnosis | None],
        lang: Lang | None,
    ) -> None:
        self._diagnoser, self._responder = diagnoser, responder
        self._chosen, self._latest, self._lang = chosen, latest, lang
        self._judged: dict[tuple[str, tuple[Fact, ...]], Diagnosis] = {}  # most messages state nothing new

    def hear(self, message: str, history: Sequence[str]) -> tuple[Question, Situation]:
        """The question that a message is after `history` (oldest first), and what it meets.

        An earlier message that cannot be used was answered with an error then, and is passed over.

        Raises:
            InputError, TooLarge: the message cannot be used, or the history is over its limits.
        """
        _check(history)
        talk = Talk()
        for earlier in history:
            try:
                question, situation, pasted = self._turn(earlier, talk)
            except AdvisorError:
                continue
            shown = self._responder.decide(question, situation).shown
            talk = Talk(talk.state.after(question, shown), None if question.aspect == "restart" else pasted)
        question, situation, _ = self._turn(message, talk)
        return question, situation

    def _turn(self, message: str, talk: Talk) -> tuple[Question, Situation, Diagnosis | None]:
        """The question, what it meets, and the diagnosis of the last paste."""
        message = clean_question(message)
        found = self._diagnoser.diagnose_paste(message, self._chosen.profile if self._chosen else None)
        if found:
            question = understand_beside_paste(found[0], talk.state.lang or self._lang)
        else:
            question = resolve(message, talk.state, self._diagnoser.knowledge.facts, self._lang)
        pasted = found[1] if found else talk.pasted
        return question, self._meets(question, talk.state, found[1] if found else None, pasted), pasted

    def _meets(self, question: Question, state: State, now: Diagnosis | None, pasted: Diagnosis | None) -> Situation:
        facts = state.known(question)
        premises = tuple(p.correction for p in false_premises(question.plain, self._diagnoser.knowledge))
        about = now or (pasted if question.follows or question.aim == "own" else None) or self._chosen
        if about:
            return Situation(self._with(about, facts), attached=True, state=state, premises=premises)
        latest = self._latest() if question.aim != "general" else None
        if latest:
            return Situation(self._with(latest, facts), state=state, premises=premises)
        # What kind of run it is matches no rule: a judgement needs more, and takes longer than all the rest.
        tells = any(not s.name.startswith("run.") for s in facts) and (question.stated or question.follows)
        told = self._of(facts) if tells else None
        if told and told.verdict == "bottleneck":
            return Situation(told, attached=True, stated=True, state=state, premises=premises)
        return Situation(state=state, premises=premises)

    def _with(self, diagnosis: Diagnosis, facts: tuple[Fact, ...]) -> Diagnosis:
        """A diagnosis judged anew with what was said beside it; what was measured stands."""
        if not facts:
            return diagnosis
        key = (diagnosis.profile.id, facts)
        if key not in self._judged:
            self._judged[key] = self._diagnoser.diagnose_beside(diagnosis.profile, [_reading(facts)])
        return self._judged[key]

    def _of(self, facts: tuple[Fact, ...]) -> Diagnosis:
        """What the words alone come to."""
        key = ("", facts)
        if key not in self._judged:
            said = [_reading(_with_phase(facts))]
            self._judged[key] = self._diagnoser.diagnose_readings(said, subject="", started="", duration_s=0.0)
        return self._judged[key]


def _with_phase(facts: tuple[Fact, ...]) -> tuple[Fact, ...]:
    """The facts, and that it is training where only training has what they tell of: steps, epochs, loader workers."""
    if any(f.name == "run.phase" for f in facts) or not any(f.name.startswith(TRAINING) for f in facts):
        return facts
    return (*facts, Fact("run.phase", "training", "{string}", STATED))


def _reading(facts: Sequence[Fact]) -> Reading:
    return Reading(Source("question", STATED, "ok"), tuple(facts))


def _check(history: Sequence[str]) -> None:
    if len(history) > MAX_HISTORY:
        raise TooLarge(f"The history has {len(history)} messages, the limit is {MAX_HISTORY}; leave out the oldest.")
    length = sum(map(len, history))
    if length > MAX_HISTORY_LENGTH:
        raise TooLarge(
            f"The history has {length:,} characters, the limit is {MAX_HISTORY_LENGTH:,}; leave out the oldest."
        )
