"""How a vLLM server started: its settings, how long it took, how much KV cache it got, or why it gave up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from advisor.readers.log.log import Log
from advisor.readers.log.serving.clock import Clock, line_start
from advisor.readers.log.serving.load import GEN, NUMBER
from advisor.readers.log.serving.settings import dumped, flag, number, shared
from advisor.readers.rows import Row, row

_DUMP = re.compile(r"LLM engine \(v[^)\n]{0,60}\) with config: |non-default args: |\bargs: Namespace\(")
_BEGIN = re.compile(r"vLLM API server version|non-default args: |Initializing an? (?:V1 )?LLM engine")
_READY = re.compile(r"Application startup complete|Uvicorn running on ")
_COUNT = r"([\d,]{1,15})"
_TOKENS = re.compile(rf"GPU KV cache size: {_COUNT} tokens")
_BLOCKS = re.compile(rf"# GPU blocks: {_COUNT}")
_FITS = re.compile(rf"Maximum concurrency for {_COUNT} tokens per request: {NUMBER}x")
_NEEDED = re.compile(
    rf"max seq len \({_COUNT}\),\s+\(?{NUMBER} GiB KV\s+cache is needed, which is larger than the "
    rf"available KV cache\s+memory \({NUMBER} GiB\)"
)
_LARGER = re.compile(
    rf"max seq len \({_COUNT}\) is larger than the maximum number of tokens that can be stored in KV cache \({_COUNT}\)"
)
_NO_MEMORY = re.compile(r"No available memory for the cache blocks")
_WEIGHTS = re.compile(
    rf"Loading weights took {NUMBER} seconds|[Mm]odel loading took {NUMBER} Gi?B (?:memory )?and {NUMBER} sec"
)
_CORE = re.compile(r"EngineCore_(?:DP)?(\d{1,4})")


@dataclass(frozen=True, slots=True)
class Start:
    """What a start says: facts, and a note on how many starts there are."""

    rows: list[Row]
    note: str = ""


def start(log: Log) -> Start:
    """What the last start in the log says."""
    told = dumped(log, _DUMP)
    begins = [m.start() for m in re.finditer(r"vLLM API server version", log.text)]
    rows = [*shared(told), *_prefix_caching(told), *_cache(log, told), *_times(log)]
    note = f"the server started {len(begins)} times: settings are of the last start" if len(begins) > 1 else ""
    return Start(rows, note)


def _prefix_caching(told: dict[str, tuple[str, str]]) -> Iterator[Row]:
    found = flag(told, "enable_prefix_caching")
    if found:
        yield row("config.prefix_caching", found[0], "{bool}", found[1])


def _cache(log: Log, told: dict[str, tuple[str, str]]) -> Iterator[Row]:
    """How many tokens the KV cache holds, and how many requests of full length that is."""
    refused = _refused(log)
    if refused:
        yield from refused
        return
    fits = _by_engine(_FITS, log)
    sizes = {engine: _integer(m[1]) for engine, m in _by_engine(_TOKENS, log).items()}
    if not sizes:
        blocks, block = _by_engine(_BLOCKS, log), number(told, "block_size")
        if block:
            sizes = {engine: _integer(m[1]) * block[0] for engine, m in blocks.items()}
        elif fits:
            sizes = {engine: _integer(m[1]) * float(m[2]) for engine, m in fits.items()}
    place = next(iter(m.start() for m in (*_by_engine(_TOKENS, log).values(), *fits.values())), None)
    at = None if place is None else log.where(place)
    yield row(GEN + "kv_cache.capacity", sum(sizes.values()) or None, "{token}", at)
    room = [float(m[2]) for m in fits.values()]
    if room:
        first = next(iter(fits.values()))
        yield row(GEN + "kv_cache.concurrency", min(room), "{request}", log.where(first.start()))
        yield row("config.context.length", _integer(first[1]) or None, "{token}", log.where(first.start()))


def _refused(log: Log) -> list[Row]:
    """A start that failed because one request of full length does not fit, unless a later one went well."""
    last = max((m.start() for m in _READY.finditer(log.text)), default=-1)
    for sign in (_NEEDED, _LARGER, _NO_MEMORY):
        match = sign.search(log.text, last + 1)
        if match is None:
            continue
        at = log.where(match.start())
        rows = [row("config.context.length", _integer(match[1]), "{token}", at)] if sign is not _NO_MEMORY else []
        if sign is _NEEDED:
            needed, available = float(match[2]), float(match[3])
            rows.append(row(GEN + "kv_cache.concurrency", available / needed if needed else None, "{request}", at))
        elif sign is _LARGER:
            longest, room = _integer(match[1]), _integer(match[2])
            rows.append(row(GEN + "kv_cache.capacity", room, "{token}", at))
            rows.append(row(GEN + "kv_cache.concurrency", room / longest if longest else None, "{request}", at))
        elif sign is _NO_MEMORY:
            rows.append(row(GEN + "kv_cache.concurrency", 0.0, "{request}", at))
        return rows
    return []


def _times(log: Log) -> Iterator[Row]:
    """How long the weights took, and the whole start: from its first line to the last before it was ready."""
    seconds = [float(m[1] or m[3]) for m in _WEIGHTS.finditer(log.text)]
    # Workers load at the same time, and a release that times both parts says the longer time last.
    yield row(GEN + "weights.load.time", max(seconds, default=None), "s")
    ready = None
    for ready in _READY.finditer(log.text):  # noqa: B007 - the last one counts
        pass
    begin = _BEGIN.search(log.text)
    if ready is None or begin is None or ready.start() < begin.start() or _READY.search(log.text, 0, begin.start()):
        return
    if len(re.findall("vLLM API server version", log.text[begin.start() : ready.start()])) > 1:
        return
    clock = Clock()
    for place in _line_starts(log.text, begin.start(), ready.start()):
        clock.read(log.text, place, min(place + 120, ready.start()))
    yield row(GEN + "startup.time", clock.seconds or None, "s", log.where(begin.start()))


def _line_starts(text: str, first: int, last: int) -> Iterator[int]:
    place = line_start(text, first)
    while 0 <= place < last:
        yield place
        found = text.find("\n", place)
        if found < 0:
            return
        place = found + 1


def _by_engine(sign: re.Pattern[str], log: Log) -> dict[str, re.Match[str]]:
    """The last match of every data-parallel engine; ranks of one engine say the same, and the smallest counts."""
    found: dict[str, re.Match[str]] = {}
    for match in sign.finditer(log.text):
        core = _CORE.search(log.text, line_start(log.text, match.start()), match.start())
        found[core[1] if core else ""] = match
    return found


def _integer(text: str) -> float:
    digits = text.replace(",", "")
    return float(digits) if digits else 0.0
