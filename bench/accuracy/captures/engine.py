"""A small simulation of a server that batches continuously: requests come, wait, prefill, decode, run out of cache.

Nothing is prescribed but arrivals, lengths and what a step costs; queues, batch, preemptions and latencies follow.
"""

# ruff: noqa: E501 - tables read better in one line

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

# A model of 8 billion parameters in 16 bits on one H100: time to read its weights, per sequence and per prompt token.
DEFAULTS: dict[str, Any] = {
    "rate": 6.0, "prompt": 700, "output": 220, "spread": 0.5, "kv_tokens": 420_000, "max_seqs": 256, "budget": 8192,
    "base": 0.0062, "per_seq": 0.000021, "per_token": 0.000028, "host": 0.0009, "chunked": True, "cached": 0.0,
    "frontend": 0.012, "drafts": 0, "acceptance": 0.0, "long_every": 0, "long_prompt": 0, "grammar": 0.0,
}  # fmt: skip
WARM_S, APART_S = 180.0, 60.0


@dataclass(slots=True)
class Request:
    """One request; times in seconds of the simulation."""

    came: float
    ready: float  # when the scheduler sees it
    prompt: int
    output: int
    left: int  # prompt tokens that have to be computed
    started: float = -1.0
    first: float = -1.0
    held: int = 0  # tokens of the cache at the time when decoding began
    begun: int = 0  # decode step in which decoding began
    produced: int = 0
    alive: int = 0  # number of its stay: a preempted request's end in the heap is void


@dataclass
class Moment:
    """What a page shows: levels of the moment, and all that was observed since the start."""

    at: float
    running: int
    waiting: int
    used: float
    counters: dict[str, float]
    seen: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


class Engine:
    """The server. `run` gives a moment every `every` seconds."""

    def __init__(self, told: Mapping[str, Any], seed: str) -> None:
        self.told = {**DEFAULTS, **told}
        self.rng = random.Random(seed)
        self.queue: deque[Request] = deque()
        self.prefilling: deque[Request] = deque()
        self.running: list[Request] = []
        self.ends: list[tuple[int, int, int, Request]] = []
        self.now, self.steps, self.used, self.serial = 0.0, 0, 0, 0
        self.counters = dict.fromkeys(
            ("prompt", "computed", "generated", "finished", "preempted", "asked", "hit", "drafts", "drafted", "accepted",
             "busy", "steps", "came", "cpu"), 0.0)  # fmt: skip
        self.seen: dict[str, list[tuple[float, float]]] = {
            name: []
            for name in ("ttft", "itl", "tpot", "e2e", "queue", "prefill", "inference", "prompts", "outputs", "grammar")
        }
        self.next_arrival = self.rng.expovariate(self.told["rate"])
        self.parsed = self.decoded = 0.0  # when the front end is free; when running requests got their last token

    def run(self, until: float, every: float) -> list[Moment]:
        """Simulate and look at it from time to time."""
        moments, due = [], every
        while self.now < until:
            self._arrive()
            self._step()
            while self.now >= due:
                moments.append(self._moment(due))
                due += every
        return moments

    def _moment(self, at: float) -> Moment:
        waiting = sum(request.ready <= at for request in self.queue)
        running = len(self.running) + len(self.prefilling)
        seen = {name: list(values) for name, values in self.seen.items()}
        return Moment(at, running, waiting, self.used / self.told["kv_tokens"], dict(self.counters), seen)

    def _arrive(self) -> None:
        told = self.told
        while self.next_arrival <= self.now:
            spread = told["spread"]
            prompt = int(told["prompt"] * self.rng.uniform(1 - spread, 1 + spread))
            self.counters["came"] += 1
            if told["long_every"] and self.counters["came"] % told["long_every"] == 0:
                prompt = int(told["long_prompt"])
            output = max(2, int(told["output"] * self.rng.uniform(1 - spread, 1 + spread)))
            hit = int(prompt * told["cached"])
            self.counters["asked"] += prompt
            self.counters["hit"] += hit
            # One process parses requests one by one; then a grammar is compiled beside the queue of the scheduler.
            self.parsed = max(self.parsed, self.next_arrival) + told["frontend"]
            ready = self.parsed + told["grammar"]
            self.queue.append(Request(self.next_arrival, ready, prompt, output, prompt - hit))
            self.next_arrival += self.rng.expovariate(told["rate"])

    def _admit(self) -> None:
        told = self.told
        budget = told["budget"] - sum(r.left for r in self.prefilling)
        while self.queue and budget > 0 and len(self.running) + len(self.prefilling) < told["max_seqs"]:
            request = self.queue[0]
            if request.ready > self.now or self.used + request.prompt + request.produced > 0.99 * told["kv_tokens"]:
                return
            self.queue.popleft()
            budget -= request.left
            self.used += request.prompt + request.produced
            if request.started < 0:
                request.started = self.now
                self.counters["cpu"] += told["frontend"]
                self.seen["queue"].append((self.now - request.ready, 1))
            self.prefilling.append(request)

    def _step(self) -> None:
        """One engine step: some prompt tokens, and one token for every running request."""
        self._admit()
        told = self.told
        budget = told["budget"] - len(self.running)
        tokens, done = 0, []
        while self.prefilling and tokens < budget:
            request = self.prefilling[0]
            part = min(request.left, budget - tokens) if told["chunked"] else request.left
            tokens += max(part, 0)
            request.left -= part
            if request.left > 0:
                break
            done.append(self.prefilling.popleft())
        decoding = len(self.running) if told["chunked"] or not tokens else 0
        if not tokens and not decoding:
            self.now, self.decoded = self.now + 0.002, 0.0
            return
        gain = 1 + told["drafts"] * told["acceptance"]
        wide = decoding * (1 + told["drafts"])
        took = told["host"] + told["base"] * (1 + 0.12 * told["drafts"]) + wide * told["per_seq"]
        took += tokens * told["per_token"]
        self.now += took
        self._count(took, tokens, decoding, gain)
        if decoding:
            self._decode(gain)
        for request in done:
            self._begin(request)

    def _count(self, took: float, tokens: int, decoding: int, gain: float) -> None:
        c = self.counters
        c["busy"] += took - self.told["host"]
        c["steps"] += 1
        c["computed"] += tokens
        c["generated"] += decoding * gain
        c["cpu"] += 0.00002 * decoding
        if self.told["drafts"]:
            c["drafts"] += decoding
            c["drafted"] += decoding * self.told["drafts"]
            c["accepted"] += decoding * self.told["drafts"] * self.told["acceptance"]
        if decoding:
            since = self.now - self.decoded if self.decoded else took
            self.seen["itl"].append((since / gain, decoding * gain))
            self.decoded = self.now

    def _begin(self, request: Request) -> None:
        if request.first < 0:
            request.first = self.now
            self.seen["ttft"].append((self.now - request.came, 1))
            self.seen["prefill"].append((self.now - request.started, 1))
            self.counters["prompt"] += request.prompt
        self.serial += 1
        request.alive, request.begun = self.serial, self.steps
        request.held = request.prompt + request.produced
        self.running.append(request)
        gain = 1 + self.told["drafts"] * self.told["acceptance"]
        end = self.steps + max(1, round((request.output - request.produced) / gain))
        heapq.heappush(self.ends, (end, self.serial, self.serial, request))

    def _decode(self, gain: float) -> None:
        self.steps += 1
        self.used += round(len(self.running) * gain)
        finished = set()
        while self.ends and self.ends[0][0] <= self.steps:
            _, _, alive, request = heapq.heappop(self.ends)
            if request.alive == alive:
                finished.add(alive)
                self._finish(request)
        if finished:
            self.running = [r for r in self.running if r.alive not in finished]
        while self.used > self.told["kv_tokens"] and len(self.running) > 1:
            self._preempt(self.running.pop(), gain)
        if not self.running and not self.prefilling:
            self.used = 0

    def _finish(self, request: Request) -> None:
        self.used -= request.prompt + request.output
        self.counters["finished"] += 1
        took = self.now - request.first
        self.seen["e2e"].append((self.now - request.came, 1))
        self.seen["inference"].append((self.now - request.started, 1))
        self.seen["tpot"].append((took / max(1, request.output - 1), 1))
        self.seen["prompts"].append((request.prompt, 1))
        self.seen["outputs"].append((request.output, 1))
        if self.told["grammar"]:
            self.seen["grammar"].append((self.told["grammar"], 1))

    def _preempt(self, request: Request, gain: float) -> None:
        """Its cache is given up; later its prompt and what it has said are computed again."""
        said = round((self.steps - request.begun) * gain)
        self.used -= request.held + said
        request.produced = min(request.output - 1, request.produced + said)
        request.left = request.prompt + request.produced
        request.alive = -1
        self.counters["preempted"] += 1
        self.queue.appendleft(request)


@lru_cache(maxsize=8)
def _simulated(seed: str, told: tuple[tuple[str, Any], ...]) -> tuple[Moment, ...]:
    return tuple(Engine(dict(told), seed).run(WARM_S + APART_S, 10.0))


def simulate(seed: str, told: Mapping[str, Any]) -> tuple[Moment, ...]:
    """A moment every 10 s for four minutes; the same whenever it is asked for."""
    plain = {key: value for key, value in told.items() if key in DEFAULTS}
    return _simulated(seed, tuple(sorted(plain.items())))


def busy_share(seed: str, told: Mapping[str, Any]) -> float:
    """Share of the last minute in which the GPU of the first server computed."""
    moments = simulate(seed, told)
    first, last = (next(m for m in moments if m.at >= at - 1) for at in (WARM_S, WARM_S + APART_S))
    return min(1.0, (last.counters["busy"] - first.counters["busy"]) / (last.at - first.at))
