"""What load generators print when they are done -> facts, as the clients measured them.

The table of ``vllm bench serve`` (and of `benchmark_serving.py`, which TensorRT-LLM and SGLang took
over) and that of GenAI-Perf and AIPerf.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from advisor.models import Reading, Source
from advisor.readers.log.log import Log
from advisor.readers.log.serving.load import GEN, TOKENS
from advisor.readers.rows import Row, facts, row
from advisor.readers.told import Told

_TABLE = re.compile(r"=+ (?:Offline |Serving |Bursty )?(?:Serving )?Benchmark Result =+")
_LINE = re.compile(r"^[>\s]{0,8}([A-Z][\w %./()-]{2,60}?):\s+([\d,]{1,15}(?:\.\d{1,6})?)\s*$", re.MULTILINE)
_PERF = re.compile(r"NVIDIA (?:GenAI-Perf|AIPerf) \| LLM Metrics")
_CELLS = re.compile(r"^[>\s]{0,8}[│|]([^│|\n]{3,60})[│|]([^\n]{1,300})$", re.MULTILINE)
_HEADER = re.compile(r"[┃|]\s*(?:Statistic|Metric)\s*[┃|]([^\n]{1,300})$", re.MULTILINE)
_NUMBER = re.compile(r"[\d,]{1,15}(?:\.\d{1,6})?")
_LENGTH = 6000

# Fact, unit, and what the tables call it, in lower case without the unit.
_SERVE: Mapping[str, tuple[str, str, float]] = {
    "mean ttft (ms)": ("time_to_first_token", "s", 1e-3),
    "mean tpot (ms)": ("time_per_output_token", "s", 1e-3),
    "mean itl (ms)": ("inter_token_latency", "s", 1e-3),
    "p99 itl (ms)": ("inter_token_latency.p99", "s", 1e-3),
    "mean e2el (ms)": ("request.duration", "s", 1e-3),
    "mean e2e latency (ms)": ("request.duration", "s", 1e-3),
    "request throughput (req/s)": ("requests.rate", "{request}/s", 1.0),
    "output token throughput (tok/s)": ("generation_tokens.rate", TOKENS, 1.0),
    "input token throughput (tok/s)": ("prompt_tokens.rate", TOKENS, 1.0),
    "accept length": ("spec.accept_length", "{token}", 1.0),
}
_AVERAGES: Mapping[str, tuple[str, str, float]] = {
    "time to first token (ms)": ("time_to_first_token", "s", 1e-3),
    "inter token latency (ms)": ("time_per_output_token", "s", 1e-3),  # GenAI-Perf: per request, without the first
    "request latency (ms)": ("request.duration", "s", 1e-3),
    "input sequence length": ("prompt_tokens.mean", "{token}", 1.0),
    "input sequence length (tokens)": ("prompt_tokens.mean", "{token}", 1.0),
    "output token throughput (per sec)": ("generation_tokens.rate", TOKENS, 1.0),
    "output token throughput (tokens/sec)": ("generation_tokens.rate", TOKENS, 1.0),
    "request throughput (per sec)": ("requests.rate", "{request}/s", 1.0),
    "request throughput (requests/sec)": ("requests.rate", "{request}/s", 1.0),
    "request throughput (req/s)": ("requests.rate", "{request}/s", 1.0),
}
Figures = dict[str, tuple[float, int]]  # by name: value and position


def find(log: Log) -> list[Told]:
    """What the last table says; nothing when no figure can be read."""
    tables = [*_TABLE.finditer(log.text), *_PERF.finditer(log.text)]
    if not tables:
        return []
    last = max(tables, key=lambda m: m.start())
    serve = last.re is _TABLE
    figures = _serve(log, last.end()) if serve else _perf(log, last.end())
    rows = list(_rows(figures, _SERVE if serve else _AVERAGES, log))
    if not any(value is not None for _, value, _, _ in rows):
        return []
    told = facts([row("run.phase", "serving", "{string}"), *rows], log.origin)
    seconds = figures.get("benchmark duration (s)", (0.0, 0))[0]
    note = "output of a load generator; latencies are as its clients measured them"
    if len(tables) > 1:
        note += f"; the last of {len(tables)} tables"
    return [Told((Reading(Source("log", log.origin, "ok", note), told),), seconds=seconds)]


def _rows(figures: Figures, names: Mapping[str, tuple[str, str, float]], log: Log) -> Iterator[Row]:
    for name, (fact, unit, scale) in names.items():
        if name in figures:
            value, place = figures[name]
            yield row(GEN + fact, value * scale, unit, log.where(place))
    done, prompts = figures.get("successful requests"), figures.get("total input tokens")
    if done and prompts and done[0]:
        yield row(GEN + "prompt_tokens.mean", prompts[0] / done[0], "{token}", log.where(prompts[1]))
    # Total over what one prompt token costs: the client sees every prompt, cached or not.
    duration = figures.get("benchmark duration (s)")
    if prompts and duration and duration[0]:
        yield row(GEN + "prompt_tokens.rate", prompts[0] / duration[0], TOKENS, log.where(prompts[1]))
    median, tail = figures.get("median itl (ms)"), figures.get("p99 itl (ms)")
    if median and tail and median[0]:
        yield row(GEN + "inter_token_latency.tail_ratio", tail[0] / median[0], "1", log.where(tail[1]))


def _serve(log: Log, place: int) -> Figures:
    """The figures of one table: from its head to the line of equals signs below it."""
    end = re.compile(r"^\s{0,8}={40,}\s*$", re.MULTILINE).search(log.text, place, place + _LENGTH)
    found: Figures = {}
    for match in _LINE.finditer(log.text, place, end.start() if end else min(len(log.text), place + _LENGTH)):
        found.setdefault(match[1].strip().lower(), (float(match[2].replace(",", "") or 0), match.start()))
    return found


def _perf(log: Log, place: int) -> Figures:
    """The column of means."""
    header = _HEADER.search(log.text, place, place + _LENGTH)
    names = [part.strip() for part in re.split(r"[┃|]", header[1])] if header else []
    if "avg" not in names:
        return {}
    column = names.index("avg")
    found: Figures = {}
    for match in _CELLS.finditer(log.text, header.end() if header else place, place + _LENGTH):
        cells = [cell.strip() for cell in re.split(r"[│|]", match[2])]
        told = _NUMBER.fullmatch(cells[column]) if column < len(cells) else None
        if told and told[0].strip(","):
            found.setdefault(match[1].strip().lower(), (float(told[0].replace(",", "")), match.start()))
    return found
