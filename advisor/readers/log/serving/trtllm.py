"""The iteration log of TensorRT-LLM's PyTorch engine -> facts.

With `print_iter_log` (or ``TLLM_LOG_LEVEL=debug``) every step says how many requests it held, how
many tokens of prompts and of answers it computed, and how long the host and the device took.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from advisor.models import Reading, Source
from advisor.readers.log.log import Log
from advisor.readers.log.serving.clock import Clock, line_end
from advisor.readers.log.serving.load import GEN, REQUEST, TOKENS
from advisor.readers.rows import Row, facts, row, share
from advisor.readers.told import Told

_STEP = re.compile(r"\biter = \d{1,12}, global_rank = (\d{1,6}), ")
_LENGTH = 800
_FIELDS = {
    "scheduled": re.compile(r"num_scheduled_requests(?::| =) (\d{1,9})"),
    "cache": re.compile(r"kv_cache_util = (\d(?:\.\d{1,9})?)"),
    "host": re.compile(r"host_step_time = (\d{1,12}(?:\.\d{1,12})?)ms"),
    "whole": re.compile(r"elapsed_time = (\d{1,12}(?:\.\d{1,18})?)s"),
    "device": re.compile(r"prev_device_step_time = (\d{1,12}(?:\.\d{1,12})?)ms"),
    "prompt": re.compile(r"'num_ctx_tokens': (\d{1,12})"),
    "answer": re.compile(r"'num_generation_tokens': (\d{1,12})"),
}
_TIME = re.compile(r"timestamp = ([\d :-]{17,19})")


@dataclass(frozen=True, slots=True)
class _Step:
    said: dict[str, float]
    place: int

    @property
    def seconds(self) -> float:
        """How long the step took, as far as it says so."""
        return self.said.get("host", 0.0) / 1e3 or self.said.get("whole", 0.0)


def find(log: Log) -> list[Told]:
    """What the steps with requests say; nothing when there is none."""
    clock = Clock()
    steps = [step for step in _steps(log, clock) if step.said.get("scheduled")]
    if not steps:
        return []
    told = facts(_rows(steps, log), log.origin)
    note = "; ".join(filter(None, (f"TensorRT-LLM log; {len(steps)} steps with requests", log.note)))
    seconds = clock.seconds or sum(step.seconds for step in steps)
    return [Told((Reading(Source("log", log.origin, "ok", note), told),), seconds=seconds)]


def _steps(log: Log, clock: Clock) -> Iterator[_Step]:
    for match in _STEP.finditer(log.text):
        if int(match[1]):  # ranks compute the same requests
            continue
        line = log.text[match.start() : line_end(log.text, match.start(), _LENGTH)]
        time = _TIME.search(line)
        if time:
            clock.read(time[1], 0, len(time[1]))
        said = {name: float(m[1]) for name, field in _FIELDS.items() if (m := field.search(line))}
        yield _Step(said, match.start())


def _rows(steps: Sequence[_Step], log: Log) -> Iterator[Row]:
    at = log.where(steps[0].place)
    yield row("run.phase", "serving", "{string}")
    yield row("run.framework", "trtllm", "{string}")
    scheduled = sum(s.said["scheduled"] for s in steps) / len(steps)
    yield row(GEN + "requests.running", scheduled, REQUEST, at)
    yield row(GEN + "batch.size.mean", scheduled, REQUEST, at)
    fills = [s.said["cache"] for s in steps if "cache" in s.said]
    yield share(GEN + "kv_cache.utilization", sum(fills) / len(fills) if fills else None, at)
    yield share(GEN + "kv_cache.utilization.peak", max(fills, default=None), at)
    timed = [s for s in steps if s.seconds and "answer" in s.said]
    spent = sum(s.seconds for s in timed)
    if spent:
        yield row(GEN + "generation_tokens.rate", sum(s.said["answer"] for s in timed) / spent, TOKENS, at)
        yield row(GEN + "prompt_tokens.rate", sum(s.said.get("prompt", 0.0) for s in timed) / spent, TOKENS, at)
    # What the host takes longer than the device is time in which the device stands still.
    both = [s for s in steps if "host" in s.said and "device" in s.said]
    host, device = sum(s.said["host"] for s in both), sum(s.said["device"] for s in both)
    yield share(GEN + "engine.idle.fraction", 1 - device / host if host else None, at)
