"""The log of llama.cpp's server, of Ollama, and the figures that `ollama run --verbose` prints -> facts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from advisor.models import Reading, Source
from advisor.readers.log.log import Log
from advisor.readers.log.serving.clock import Clock, line_start
from advisor.readers.log.serving.load import GEN, NUMBER
from advisor.readers.rows import Row, facts, row, share
from advisor.readers.told import Told

_PROMPT = re.compile(rf"prompt eval time\s*=\s*{NUMBER} ms /\s*(\d{{1,9}}) tokens")
_EVAL = re.compile(rf"(?<!prompt )\beval time\s*=\s*{NUMBER} ms /\s*(\d{{1,9}}) (?:runs|tokens)")
_TOTAL = re.compile(rf"\btotal time\s*=\s*{NUMBER} ms")
_LAYERS = re.compile(r"offloaded (\d{1,5})/(\d{1,5}) layers to GPU")
_OLLAMA_LAYERS = re.compile(r"layers\.model=(\d{1,5}) layers\.offload=(\d{1,5})")
_LIBRARY = re.compile(r"\blibrary=(\w{1,20})|offload to (\w{1,20})")
_CONTEXT = re.compile(r"\bn_ctx\s*=\s*(\d{1,9})")
_SHAPE = {
    "config.model.layers": (re.compile(r"\bn_layer\s*=\s*(\d{1,5})\b"), "{layer}"),
    "config.model.kv_heads": (re.compile(r"\bn_head_kv\s*=\s*(\d{1,5})\b"), "{head}"),
    "config.model.head_size": (re.compile(r"\bn_embd_head_k\s*=\s*(\d{1,5})\b"), "1"),
}
_HEAD_V = re.compile(r"\bn_embd_head_v\s*=\s*(\d{1,5})\b")
_KV_TYPE = re.compile(r"\bK \((f32|f16|bf16)\):")
_STARTED = re.compile(rf"llama runner started in {NUMBER} seconds")
_ANSWERED = re.compile(
    r"\[GIN\] [\d/]{10} - [\d:]{8} \| 200 \|\s*(\S{2,24}) \|[^|\n]{1,80}\| "
    r"POST\s+\"(?:/api/(?:chat|generate)|/v1/(?:chat/)?completions)\""
)
_VERBOSE = {
    "total": re.compile(r"^total duration:\s+(\S{2,24})", re.MULTILINE),
    "prompt_count": re.compile(r"^prompt eval count:\s+(\d{1,9})", re.MULTILINE),
    "prompt": re.compile(r"^prompt eval duration:\s+(\S{2,24})", re.MULTILINE),
    "load": re.compile(r"^load duration:\s+(\S{2,24})", re.MULTILINE),
    "count": re.compile(r"^eval count:\s+(\d{1,9})", re.MULTILINE),
    "eval": re.compile(r"^eval duration:\s+(\S{2,24})", re.MULTILINE),
}
_PIECE = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(h|ms|m|s|ns|\S{1,3}?s)")
_SCALE = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "ns": 1e-9}
_OLLAMA = re.compile(r"\[GIN\] |\bollama\b|source=\w{1,40}\.go:\d|^eval rate:", re.MULTILINE)
_SERVER = re.compile(r"\bslot\b|print_timing|srv |server is listening|llama_server")


@dataclass(frozen=True, slots=True)
class _Times:
    """What was computed: requests, their prompts and answers, in seconds and tokens."""

    requests: int
    prompt: float
    prompt_tokens: float
    answer: float
    answer_tokens: float
    place: int


def find(log: Log) -> list[Told]:
    """What the log says; nothing when it has neither timings nor layers in it."""
    rows = [*_timings(log), *_layers(log), *_ollama(log)]
    if not any(value is not None for _, value, _, _ in rows):
        return []
    ollama = _OLLAMA.search(log.text) is not None
    served = ollama or _SERVER.search(log.text) is not None
    context = _CONTEXT.search(log.text)
    identity = [
        row("run.phase", "serving" if served else "inference", "{string}"),
        row("run.framework", "ollama" if ollama else "llama.cpp", "{string}"),
        row("config.context.length", float(context[1]) if context else None, "{token}"),
        *_shape(log),
    ]
    clock = _clock(log)
    note = "; ".join(filter(None, ("Ollama log" if ollama else "llama.cpp log", log.note)))
    reading = Reading(Source("log", log.origin, "ok", note), facts([*identity, *rows], log.origin))
    return [Told((reading,), started=clock.started, seconds=clock.seconds)]


def _shape(log: Log) -> Iterator[Row]:
    """What sets the size of the KV cache; nothing for models whose keys and values differ in size."""
    found = {name: sign.search(log.text) for name, (sign, _) in _SHAPE.items()}
    value, key, kind = _HEAD_V.search(log.text), found["config.model.head_size"], _KV_TYPE.search(log.text)
    if value is None or key is None or value[1] != key[1]:
        return
    for name, (_, unit) in _SHAPE.items():
        match = found[name]
        yield row(name, float(match[1]) if match else None, unit, log.where(match.start()) if match else None)
    yield row("config.kv_cache.dtype", kind[1] if kind else None, "{string}")


def _timings(log: Log) -> Iterator[Row]:
    """Means over the answered requests; tokens that came from the prompt cache are in none of the figures."""
    times = _printed(log) or _verbose(log)
    if times is None:
        return
    at = log.where(times.place)
    count = times.requests
    yield row(GEN + "prefill.time", times.prompt / count, "s", at)
    yield row(GEN + "prompt_tokens.mean", times.prompt_tokens / count or None, "{token}", at)
    if times.answer_tokens and times.answer:
        yield row(GEN + "time_per_output_token", times.answer / times.answer_tokens, "s", at)
    totals = [float(m[1]) / 1e3 for m in _TOTAL.finditer(log.text)]
    if totals:
        yield row(GEN + "request.duration", sum(totals) / len(totals), "s", at)


def _printed(log: Log) -> _Times | None:
    prompts = [(float(m[1]), float(m[2]), m.start()) for m in _PROMPT.finditer(log.text)]
    answers = [(float(m[1]), float(m[2])) for m in _EVAL.finditer(log.text)]
    if not prompts:
        return None
    return _Times(
        len(prompts),
        sum(ms for ms, _, _ in prompts) / 1e3,
        sum(n for _, n, _ in prompts),
        sum(ms for ms, _ in answers) / 1e3,
        sum(n for _, n in answers),
        prompts[0][2],
    )


def _verbose(log: Log) -> _Times | None:
    """The figures below an answer of ``ollama run --verbose``."""
    found = {name: list(sign.finditer(log.text)) for name, sign in _VERBOSE.items()}
    if not (found["prompt"] and found["eval"] and found["count"]):
        return None

    def total(name: str) -> float:
        return sum(_duration(m[1]) for m in found[name])

    def tokens(name: str) -> float:
        return sum(float(m[1]) for m in found[name])

    place = found["prompt"][0].start()
    count = len(found["prompt"])
    return _Times(count, total("prompt"), tokens("prompt_count"), total("eval"), tokens("count"), place)


def _layers(log: Log) -> Iterator[Row]:
    """How many layers of the model that was loaded last are on the GPU; none is no share where there is no GPU."""
    found = [(m.start(), float(m[1]), float(m[2])) for m in _LAYERS.finditer(log.text)]
    for match in _OLLAMA_LAYERS.finditer(log.text):
        library = _LIBRARY.search(log.text, line_start(log.text, match.start()), match.start())
        if library is None or (library[1] or library[2]) != "cpu":
            found.append((match.start(), float(match[2]), float(match[1])))
    if found:
        place, on, of = max(found)
        yield share(GEN + "gpu_layers.fraction", on / of if of else None, log.where(place))


def _ollama(log: Log) -> Iterator[Row]:
    answered = [(_duration(m[1]), m.start()) for m in _ANSWERED.finditer(log.text)]
    if answered:
        mean = sum(seconds for seconds, _ in answered) / len(answered)
        yield row(GEN + "request.duration", mean, "s", log.where(answered[0][1]))
    else:
        totals = [_duration(m[1]) for m in _VERBOSE["total"].finditer(log.text)]
        yield row(GEN + "request.duration", sum(totals) / len(totals) if totals else None, "s")
    started = list(_STARTED.finditer(log.text))
    if started:
        yield row(GEN + "startup.time", float(started[-1][1]), "s", log.where(started[-1].start()))


def _clock(log: Log) -> Clock:
    """The time from the first to the last line that says something of a request."""
    clock = Clock()
    for sign in (_ANSWERED, _PROMPT):
        for match in sign.finditer(log.text):
            clock.read(log.text, line_start(log.text, match.start()), match.end())
    return clock


def _duration(text: str) -> float:
    """Seconds of a duration as Go prints it: ``1m2.5s``, ``512.3ms``, ``45.2µs``."""
    return sum(float(m[1]) * _SCALE.get(m[2], 1e-6) for m in _PIECE.finditer(text))
