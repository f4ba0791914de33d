"""``trainer_state.json``, which the Trainer of Hugging Face saves with every checkpoint -> readings.

It holds no clock. Evaluations tell their own run time, and the last entry of a finished training tells the training's.
Several of one run (its checkpoints) hold the same history up to their step: the longest is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from advisor.errors import InputError
from advisor.models import Reading, Source
from advisor.readers.artefact import Artefact, Tick, decode
from advisor.readers.rows import Row, facts, row, share
from advisor.readers.told import Told

MAX_BYTES = 256 << 20
KIND = "log"


@dataclass(frozen=True, slots=True)
class _State:
    artefact: Artefact
    fields: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What saved states say, one run each.

    Raises:
        InputError: when one is damaged or tells nothing.
    """
    runs: list[_State] = []
    for state in sorted((_load(a, tick) for a in artefacts), key=lambda s: -len(s.history)):
        if not any(_continues(longer, state) for longer in runs):
            runs.append(state)
    return [_told(state) for state in runs]


def _load(artefact: Artefact, tick: Tick) -> _State:
    try:
        fields = json.loads(decode(artefact.read(MAX_BYTES, tick)))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{artefact.origin} is a trainer state that is damaged or cut off ({error}); copy it again"
        ) from None
    history = fields.get("log_history") if isinstance(fields, dict) else None
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise InputError(f"{artefact.origin} is a trainer state without a history; give the one of a later checkpoint")
    return _State(artefact, fields, history)


def _continues(longer: _State, state: _State) -> bool:
    """Whether the longer history begins as this one does; timings of a metric show that it is the same run."""
    return list(longer.history[: len(state.history)]) == list(state.history)


def _told(state: _State) -> Told:
    end: Mapping[str, Any] = next((e for e in reversed(state.history) if _number(e, "train_runtime")), {})
    runtime = _number(end, "train_runtime")
    rows = [*_steps(state, end), *_batch(state), *_evaluations(state, runtime)]
    known = facts([*rows, row("run.phase", "training", "{string}"), row("run.framework", "pytorch", "{string}")],
                  state.artefact.origin)  # fmt: skip
    done, planned = _number(state.fields, "global_step"), _number(state.fields, "max_steps")
    if not done and not rows:
        raise InputError(f"{state.artefact.origin} is a trainer state of no step; give the one of a later checkpoint")
    place = f"at step {done or 0:,.0f} of {planned:,.0f}" if planned else f"at step {done or 0:,.0f}"
    note = f"a state of the Hugging Face Trainer {place}, {len(state.history)} entries of history" + (
        "" if runtime else "; it does not tell how long training took, which the log does"
    )
    return Told((Reading(Source(KIND, state.artefact.origin, "ok", note), known),), (), None, runtime or 0.0)


def _steps(state: _State, end: Mapping[str, Any]) -> Iterator[Row]:
    runtime, done = _number(end, "train_runtime"), _number(end, "step") or _number(state.fields, "global_step")
    evaluating = sum(seconds for _, seconds in _evaluated(state))
    if runtime and done:
        stepping = runtime - evaluating if 0 < evaluating < runtime else runtime
        yield row("ml.step.time", stepping / done, "s")
    yield row("ml.step.count", _number(state.fields, "global_step"), "{step}")
    yield row("ml.throughput.samples.job", _number(end, "train_samples_per_second"), "{sample}/s")
    yield row("ml.throughput.tokens.job", _number(end, "train_tokens_per_second"), "{token}/s")


def _batch(state: _State) -> Iterator[Row]:
    yield row("ml.microbatch.size", _number(state.fields, "train_batch_size") or None, "{sample}")
    yield row("config.logging.interval", _number(state.fields, "logging_steps") or None, "{step}")


def _evaluated(state: _State) -> list[tuple[float, float]]:
    """Step and seconds of each evaluation; those over several datasets at one step are one."""
    spent: dict[float, float] = {}
    for entry in state.history:
        seconds = [_number(entry, key) for key in entry if key.startswith("eval_") and key.endswith("runtime")]
        told = [s for s in seconds if s is not None and s >= 0]
        if told:
            step = _number(entry, "step") or 0.0
            spent[step] = spent.get(step, 0.0) + sum(told)
    return sorted(spent.items())


def _evaluations(state: _State, runtime: float | None) -> Iterator[Row]:
    told = _evaluated(state)
    if not told:
        return
    spent = sum(seconds for _, seconds in told)
    yield row("ml.evaluation.count", float(sum(step > 0 for step, _ in told)), "{evaluation}")
    yield row("ml.evaluation.time", spent / len(told), "s")
    gaps = [b - a for (a, _), (b, _) in pairwise(told) if b > a]
    yield row("config.evaluation.interval", sorted(gaps)[len(gaps) // 2] if gaps else None, "{step}")
    if runtime and spent <= runtime:
        yield share("ml.evaluation.fraction", spent / runtime)


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15 or not math.isfinite(value):
        return None
    return float(value)
