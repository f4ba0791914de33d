"""Whatever bytes a person gives, reading ends with facts or with one sentence, soon, and in bounded memory."""

from __future__ import annotations

import gzip
import json
import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seeds import SEEDS

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.document import read_document, read_json
from advisor.readers.recognise import DOCUMENT, KINDS, SCRIPT, recognise
from advisor.readers.told import Told

SHARED = Path(__file__).parents[2] / "shared" / "artifacts"
SLOWEST_S = 5.0  # for one small input on a busy machine; what hangs takes for ever
MOST_MEMORY = 1 << 30  # bytes that all of it may add to the process
LARGEST = 1 << 20  # of the real samples those are mutated that are small
MUTATED = 320  # times every seed: more than ten thousand in all


def outcome(data: bytes) -> str:
    """How reading ends: ``facts``, ``nothing`` or ``sentence``; anything else is raised."""
    artefact = Artefact("input", data=data)
    began = time.perf_counter()
    try:
        ended = _read(artefact)
    except InputError as error:
        said = str(error)
        assert said
        assert "\n" not in said
        assert len(said) < 1000
        ended = "sentence"
    assert time.perf_counter() - began < SLOWEST_S
    return ended


def _read(artefact: Artefact) -> str:
    kind = recognise(artefact)
    if kind is None or kind.name == SCRIPT:
        return "nothing"
    if kind.name == DOCUMENT:
        read_document(read_json(artefact))
        return "facts"
    told = kind.read([artefact], no_tick)
    assert all(isinstance(t, Told) for t in told)
    return "facts" if any(r.facts for t in told for r in (*t.readings, *(r for _, r in t.ranks))) else "nothing"


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _flip(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randrange(1, 20)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def _repeat(data: bytes, draw: random.Random) -> bytes:
    at, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[at:end] * draw.randrange(1, 4) + data[end:]


def _drop(data: bytes, draw: random.Random) -> bytes:
    at, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    return data[:at] + data[end:]


def _numbers(data: bytes, draw: random.Random) -> bytes:
    """Another number where one stood."""
    digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    if not digits:
        return data
    at = draw.choice(digits)
    odd = (b"-1", b"1e999", b"NaN", b"9" * 400, b"0", b"1e-320", b"Infinity", b"[[[[", b'"', b"\xff", b"0x1p3")
    return data[:at] + draw.choice(odd) + data[at + 1 :]


def _lines(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    draw.shuffle(lines)
    return b"\n".join(lines[: draw.randrange(len(lines) + 1)])


def _encoded(data: bytes, draw: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(draw.choice(("utf-16", "utf-16-le", "utf-8-sig", "latin-1")), "replace")


def _packed(data: bytes, draw: random.Random) -> bytes:
    packed = gzip.compress(data)
    return packed if draw.random() < 0.5 else _flip(packed, draw)


MUTATIONS: Sequence[Callable[[bytes, random.Random], bytes]] = (
    _cut, _flip, _repeat, _drop, _numbers, _lines, _encoded, _packed,
)  # fmt: skip


def mutated(seed: bytes, count: int, draw: random.Random) -> Iterator[bytes]:
    """`count` inputs that look like `seed`, more and more remotely."""
    for _ in range(count):
        data = seed
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            data = draw.choice(MUTATIONS)(data, draw) or b"x"
        yield data


def test_there_is_a_seed_of_every_kind_and_each_is_read() -> None:
    kinds = {kind.name for data in SEEDS.values() if (kind := recognise(Artefact("input", data=data)))}
    # A script is only known as a file of its own; the others say that there is nothing in them to be read.
    assert kinds == {kind.name for kind in KINDS} - {
        SCRIPT,
        "a report of NVIDIA Nsight",
        "weights of a model",
        "a web page",
    }
    assert {name: outcome(data) for name, data in SEEDS.items()} == dict.fromkeys(SEEDS, "facts")


def survive(seeds: Sequence[bytes], times: int) -> dict[str, int]:
    """How reading ends for `times` mutations of each seed."""
    draw = random.Random(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ended = dict.fromkeys(("facts", "nothing", "sentence"), 0)
    for seed in seeds:
        for data in mutated(seed, times, draw):
            ended[outcome(data)] += 1
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_MEMORY
    return ended


@pytest.mark.timeout(900)
def test_mutated_artefacts_give_facts_or_a_sentence() -> None:
    ended = survive(list(SEEDS.values()), MUTATED)
    assert sum(ended.values()) > 10_000
    assert ended["facts"] > 1000
    assert ended["sentence"] > 1000


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not SHARED.is_dir(), reason="no samples of real artefacts here")
def test_mutated_real_artefacts_give_facts_or_a_sentence() -> None:
    real = [p.read_bytes() for p in sorted(SHARED.rglob("*")) if p.is_file() and 0 < p.stat().st_size < LARGEST]
    ended = survive(real, 20)
    assert ended["sentence"] > 100


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=2000))
def test_any_bytes_give_facts_or_a_sentence(data: bytes) -> None:
    outcome(data)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
                    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(
                        st.sampled_from(("traceEvents", "ph", "name", "ts", "dur", "cat", "args", "facts", "profile",
                                         "log_history", "card0", "data", "status", "result", "step")) | st.text(),
                        inner, max_size=6), max_leaves=20))  # fmt: skip
def test_any_json_gives_facts_or_a_sentence(value: object) -> None:
    outcome(json.dumps(value).encode())
