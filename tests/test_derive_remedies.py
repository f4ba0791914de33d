"""Computed remedies keep to what the machine has, grow with it, and are absent without what they are computed from."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from advisor.derive import FORMULAS, derive, with_derived
from advisor.models import Value

WORKERS, FITTING = "derived.dataloader.workers.recommended", "derived.dataloader.batch_size.fitting"
SEQUENCES, BUCKET = "derived.serving.max_num_seqs.fitting", "derived.ddp.bucket.recommended"
PREFETCH = "derived.dataloader.prefetch.fitting"
SHARE, CONTEXT = "derived.serving.gpu_memory_utilization.fitting", "derived.serving.context.fitting"

CPUS = ("container.cpuset.count", "container.cpu.limit", "system.cpu.logical.count")

seconds = st.floats(1e-4, 10.0)
shares = st.floats(0.01, 1.0)
sizes = st.floats(1e6, 1e11)
counts = st.integers(1, 256).map(float)


def number(facts: dict[str, Value], name: str) -> float | None:
    """The derived fact `name` of these facts."""
    value = with_derived(facts).get(name)
    assert value is None or isinstance(value, float | int)
    return value


@st.composite
def loaders(draw: st.DrawFn) -> dict[str, Value]:
    """A timed loader on a host with an affinity mask, perhaps a quota, several ranks, and workers of known size."""
    wall = draw(seconds)
    facts: dict[str, Value] = {
        "container.cpuset.count": draw(counts),
        "system.cpu.logical.count": draw(counts),
        "config.distributed.local_world_size": draw(st.integers(1, 16).map(float)),
        "config.dataloader.num_workers": draw(st.integers(0, 64).map(float)),
        "ml.dataloader.batch.time": wall,
        "ml.dataloader.batch.cpu_time": wall * draw(st.floats(0.0, 1.0)),
        "ml.step.compute.time": draw(seconds),
        "derived.memory.available": draw(sizes),
    }
    if draw(st.booleans()):
        facts["container.cpu.limit"] = draw(st.floats(0.1, 64.0))
    if draw(st.booleans()):
        facts["process.memory.worker.unique"] = draw(sizes)
    return facts


@given(loaders())
def test_workers_never_exceed_the_cpus_of_the_rank_nor_the_need(facts: dict[str, Value]) -> None:
    values = with_derived(facts)
    ranks = float(facts["config.distributed.local_world_size"])
    own = min(float(facts[n]) for n in CPUS if n in facts) / ranks
    recommended = float(values[WORKERS])

    assert recommended == int(recommended)
    assert 0 <= recommended <= math.floor(own)
    assert recommended <= max(1.0, float(values["derived.dataloader.workers.needed"]))
    assert (recommended >= 1) == (own >= 1)
    # Beside the training process, unless there is only one CPU for both.
    busy = float(values["ml.dataloader.batch.cpu.fraction"])
    assert recommended * busy <= own - 1 + 1e-6 or recommended == min(1.0, math.floor(own))


@given(loaders())
def test_workers_that_are_added_fit_memory(facts: dict[str, Value]) -> None:
    assume("process.memory.worker.unique" in facts)
    recommended, now = float(number(facts, WORKERS) or 0.0), float(facts["config.dataloader.num_workers"])
    ranks, each = float(facts["config.distributed.local_world_size"]), float(facts["process.memory.worker.unique"])
    asked = ranks * max(0.0, recommended - now) * each

    # One worker is the least that makes sense on a whole CPU, whatever it takes.
    assert asked <= 0.9 * float(facts["derived.memory.available"]) + 1 or recommended == 1


@given(loaders(), st.floats(1.0, 4.0))
def test_more_cpus_or_more_memory_never_mean_fewer_workers(facts: dict[str, Value], more: float) -> None:
    richer = {n: (float(v) * more if n in (*CPUS, "derived.memory.available") else v) for n, v in facts.items()}

    assert float(number(richer, WORKERS) or 0.0) >= float(number(facts, WORKERS) or 0.0)


@given(loaders())
def test_as_many_cpus_as_are_asked_for_would_keep_up(facts: dict[str, Value]) -> None:
    values = with_derived({n: v for n, v in facts.items() if n != "process.memory.worker.unique"})
    asked, needed = float(values["derived.dataloader.cpus.needed"]), float(values["derived.dataloader.workers.needed"])
    assume(float(values["ml.dataloader.batch.cpu.fraction"]) >= 0.1)  # below it the number of CPUs is no limit of work
    plenty = {**facts, "derived.cpu.per_rank": max(asked, needed)}
    plenty.pop("process.memory.worker.unique", None)

    assert number(plenty, WORKERS) == max(1.0, needed)


@given(loaders())
def test_threads_and_workers_together_fill_the_cpus_once(facts: dict[str, Value]) -> None:
    values = with_derived(facts)
    threads, own = float(values["derived.torch.threads.recommended"]), float(values["derived.cpu.per_rank"])
    loading = min(
        float(facts["config.dataloader.num_workers"]),
        float(facts["ml.dataloader.batch.cpu_time"]) / float(facts["ml.step.compute.time"]),
    )

    assert threads >= 1
    assert threads + loading <= own + 1e-6 or threads == 1


@given(loaders(), st.floats(1e3, 1e9), st.integers(1, 7), st.one_of(st.none(), st.tuples(sizes, st.floats(0.0, 1.0))))
def test_batches_in_flight_leave_half_of_the_free_memory(
    facts: dict[str, Value], size: float, now: int, shm: tuple[float, float] | None
) -> None:
    facts |= {"ml.dataloader.batch.bytes": size, "config.dataloader.prefetch_factor": float(now)}
    room = float(facts["derived.memory.available"])
    if shm:
        facts |= {"system.filesystem.shm.limit": shm[0], "system.filesystem.shm.utilization": shm[1]}
        room = min(room, shm[0] * (1 - shm[1]))
    factor, workers = number(facts, PREFETCH), float(facts["config.dataloader.num_workers"])
    step = float(facts["config.distributed.local_world_size"]) * workers * size

    if factor is None:
        assert workers == 0 or step > 0.5 * room
    else:
        assert now < factor <= 8
        assert (factor - now) * step <= 0.5 * room * (1 + 1e-9)


@st.composite
def memories(draw: st.DrawFn) -> tuple[dict[str, Value], float, float, float]:
    """A run whose memory is ``fixed + batch * each``: its facts, and the bytes of fixed, each and other holders."""
    batch, limit = draw(st.integers(1, 512)), draw(st.floats(8e9, 200e9))
    fixed, each = limit * draw(st.floats(0.0, 0.5)), limit * draw(st.floats(1e-4, 0.5)) / batch
    unused, other = draw(st.floats(0.0, 0.4)), limit * draw(st.floats(0.0, 0.1))
    allocated = fixed + batch * each
    use = allocated / (1 - unused) + other
    assume(use < limit)
    facts: dict[str, Value] = {
        "config.dataloader.batch_size": float(batch),
        "hw.gpu.memory.limit": limit,
        "hw.gpu.memory.peak_utilization": use / limit,
        "torch.cuda.memory.allocated.peak": allocated,
        "torch.cuda.memory.activation.share": batch * each / allocated,
        "torch.cuda.memory.reserved_unused.fraction": unused,
    }
    return facts, fixed / (1 - unused), each / (1 - unused), other


@given(memories())
def test_the_batch_that_is_recommended_leaves_a_tenth_of_the_device(
    run: tuple[dict[str, Value], float, float, float],
) -> None:
    facts, fixed, each, other = run
    fits = number(facts, FITTING)
    assume(fits is not None)
    assert fits is not None

    batch = float(facts["config.dataloader.batch_size"])
    assert 1.25 * batch <= fits <= 4 * batch
    assert fits == int(fits)
    assert fixed + fits * each + other <= 0.9 * float(facts["hw.gpu.memory.limit"]) * (1 + 1e-9)


@given(memories())
def test_one_point_never_reaches_further_than_two(run: tuple[dict[str, Value], float, float, float]) -> None:
    facts, *_ = run
    alone = {n: v for n, v in facts.items() if not n.startswith("torch.")}

    assert float(number(alone, FITTING) or 0.0) <= float(number(facts, FITTING) or 0.0)


@given(memories(), st.floats(1.0, 3.0))
def test_a_larger_device_never_means_a_smaller_batch(
    run: tuple[dict[str, Value], float, float, float], more: float
) -> None:
    facts, *_ = run
    limit, peak = float(facts["hw.gpu.memory.limit"]), float(facts["hw.gpu.memory.peak_utilization"])
    larger = {**facts, "hw.gpu.memory.limit": limit * more, "hw.gpu.memory.peak_utilization": peak / more}

    assert float(number(larger, FITTING) or 0.0) >= float(number(facts, FITTING) or 0.0)


@given(st.floats(1e5, 1e11), st.integers(2, 4096), st.floats(1e-6, 1e-2), st.floats(1e7, 5e11))
def test_a_bucket_is_cheap_in_latency_or_as_large_as_overlap_allows(
    parameters: float, ranks: int, rtt: float, rate: float
) -> None:
    facts: dict[str, Value] = {
        "config.model.parameters": parameters, "config.model.dtype": "float32", "config.distributed.strategy": "DDP",
        "config.distributed.world_size": float(ranks), "config.distributed.nodes": 2.0, "system.network.rtt": rtt,
        "comm.busbw": rate,
    }  # fmt: skip
    mib, gradients = number(facts, BUCKET), parameters * 4 / 2**20
    assert mib is not None
    latency, transfer = 2 * (ranks - 1) * rtt / 2, 2 * (ranks - 1) / ranks * mib * 2**20 / rate

    assert mib >= 1
    assert mib <= max(1.0, gradients / 4)
    cheap = latency / (latency + transfer) <= 0.1 + 0.1 / mib  # a whole number of MiB
    assert cheap or mib == max(1, math.floor(gradients / 4))
    assert mib >= min(25, math.floor(gradients / 4))


@given(st.floats(1e6, 1e12), st.integers(2, 4096), st.floats(1e6, 1e12))
def test_the_time_of_an_exchange_is_that_of_its_bus_bandwidth(size: float, ranks: int, busbw: float) -> None:
    facts: dict[str, Value] = {
        "derived.comm.gradient.bytes": size, "config.distributed.world_size": float(ranks), "comm.busbw": busbw,
    }  # fmt: skip
    time = number(facts, "derived.comm.allreduce.time")
    assert time is not None

    # nccl-tests: busbw = algbw * 2(n-1)/n, and algbw is bytes over time.
    assert size / time * 2 * (ranks - 1) / ranks == pytest.approx(busbw)


@given(shares, st.integers(1, 2000))
def test_the_requests_that_are_admitted_fit_the_cache(fill: float, running: int) -> None:
    facts: dict[str, Value] = {
        "gen_ai.server.kv_cache.utilization": fill, "gen_ai.server.requests.running": float(running),
    }  # fmt: skip
    fits = number(facts, SEQUENCES)
    assert fits is not None

    assert 1 <= fits <= 4 * running
    assert fits * fill / running <= 0.9 + 1e-9 or fits == 1
    assert float(number({**facts, "gen_ai.server.kv_cache.utilization": fill / 2}, SEQUENCES) or 0.0) >= fits


@given(st.floats(0.0, 2.0), st.integers(1, 1_000_000))
def test_the_context_that_is_recommended_fits_the_cache(concurrency: float, length: int) -> None:
    fits = number({"gen_ai.server.kv_cache.concurrency": concurrency, "config.context.length": float(length)}, CONTEXT)

    assert fits is None or (fits <= concurrency * length and fits < length and fits % 256 == 0)


@given(st.floats(8e9, 200e9), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_server_and_its_neighbours_leave_a_twentieth(limit: float, foreign: float, peak: float) -> None:
    facts: dict[str, Value] = {
        "hw.gpu.memory.limit": limit, "hw.gpu.process.foreign_memory": foreign * limit,
        "hw.gpu.memory.peak_utilization": peak,
    }  # fmt: skip
    share = number(facts, SHARE)

    assert share is None or peak < share + foreign <= 0.95 + 1e-9


@given(st.floats(0.01, 1e4))
def test_the_checkpoint_interval_costs_a_hundredth_and_is_the_optimum_of_young(save: float) -> None:
    values = with_derived({"ml.checkpoint.time": save})
    interval = float(values["derived.checkpoint.interval.cheap"])
    failures = float(values["derived.checkpoint.interval.failure_time"])

    assert save / interval == pytest.approx(0.01)
    assert math.sqrt(2 * save * failures) == pytest.approx(interval)
    loss = [save / t + t / (2 * failures) for t in (0.9 * interval, interval, 1.1 * interval)]
    assert loss[1] == min(loss)


@given(st.floats(1.0, 1e6), st.floats(1e6, 1e12), st.floats(1e9, 1e16))
def test_what_is_achieved_is_a_share_of_what_was_measured(tokens: float, parameters: float, probe: float) -> None:
    facts: dict[str, Value] = {
        "run.phase": "training", "ml.throughput.tokens": tokens, "config.model.parameters": parameters,
        "config.precision.compute": "bf16", "probe.matmul.bf16.rate": probe,
    }  # fmt: skip
    share = number(facts, "derived.matmul.achieved.fraction")

    assert share is None or 0 <= share <= 1
    assert (share is None) == (6 * tokens * parameters / probe > 1.1)
    assert number({**facts, "config.precision.compute": "fp32"}, "derived.matmul.achieved.fraction") is None


FULL: dict[str, Value] = {
    "comm.busbw": 40e9, "config.context.length": 8192.0, "config.dataloader.batch_size": 8.0,
    "config.dataloader.num_workers": 2.0, "config.dataloader.prefetch_factor": 2.0, "config.distributed.nodes": 2.0,
    "config.distributed.strategy": "DDP", "config.distributed.world_size": 1.0, "config.kv_cache.dtype": "f16",
    "config.model.dtype": "float32", "config.model.head_size": 128.0, "config.model.kv_heads": 8.0,
    "config.model.layers": 32.0, "config.model.parameters": 1e9, "config.optimizer": "AdamW",
    "config.precision.compute": "bf16", "container.cpuset.count": 16.0,
    "gen_ai.server.kv_cache.capacity": 1e5, "gen_ai.server.kv_cache.concurrency": 0.5,
    "gen_ai.server.kv_cache.utilization": 0.97, "gen_ai.server.requests.running": 200.0, "hw.gpu.dram.active": 0.7,
    "hw.gpu.memory.limit": 80e9, "hw.gpu.memory.peak_utilization": 0.5, "hw.gpu.process.foreign_memory": 0.0,
    "ml.checkpoint.time": 9.0, "ml.dataloader.batch.bytes": 1e6, "ml.dataloader.batch.cpu_time": 0.3,
    "ml.dataloader.batch.time": 0.3, "ml.step.backward.fraction": 0.5, "ml.step.compute.time": 0.1, "ml.step.time": 0.4,
    "ml.throughput.flops": 4e14, "ml.throughput.tokens": 1e4, "probe.matmul.bf16.rate": 6e14,
    "process.memory.worker.unique": 1e9, "run.phase": "training", "system.memory.available": 64e9,
    "system.network.link.speed": 1.25e9, "system.network.rtt": 1e-4, "torch.cuda.memory.activation.share": 0.3,
    "torch.cuda.memory.allocated.peak": 40e9, "torch.cuda.memory.reserved_unused.fraction": 0.1,
}  # fmt: skip
COMPUTED = [
    "derived.checkpoint.bytes", "derived.checkpoint.interval.cheap", "derived.comm.allreduce.backward.ratio",
    "derived.comm.allreduce.nominal.time", "derived.comm.allreduce.time", "derived.comm.gradient.bytes",
    "derived.dataloader.batch_size.fitting", "derived.dataloader.cpus.needed", "derived.dataloader.prefetch.fitting",
    "derived.dataloader.workers.cpu_limit", "derived.dataloader.workers.memory_limit",
    "derived.dataloader.workers.missing", "derived.dataloader.workers.needed", "derived.dataloader.workers.recommended",
    "derived.ddp.bucket.recommended", "derived.gpu.bandwidth.achieved.fraction", "derived.gpu.memory.batch.bytes",
    "derived.serving.context.fitting", "derived.serving.gpu_memory_utilization.fitting",
    "derived.serving.kv.context.bytes", "derived.serving.kv.request.tokens", "derived.serving.kv.token.bytes",
    "derived.serving.max_num_seqs.fitting", "derived.torch.threads.recommended",
]  # fmt: skip


def inputs(name: str) -> set[str]:
    """The measured facts that the formula of `name` cannot do without, through other formulas too."""
    needs = set(next(f for f in FORMULAS if f.name == name).needs)
    return {n for n in needs if n in FULL} | {n for need in needs - FULL.keys() for n in inputs(need)}


@pytest.mark.parametrize("name", COMPUTED)
def test_no_number_without_what_it_is_computed_from(name: str) -> None:
    ranks: Value = 1.0 if name == "derived.checkpoint.bytes" else 16.0
    facts = {**FULL, "config.distributed.world_size": ranks}
    assert name in derive(facts), "the facts above are enough for it"

    for needed in inputs(name):
        assert name not in derive({n: v for n, v in facts.items() if n != needed}), needed


def test_what_is_achieved_needs_a_measured_yardstick() -> None:
    name = "derived.matmul.achieved.fraction"
    by_program = {n: v for n, v in FULL.items() if n != "ml.throughput.tokens"}
    by_tokens = {n: v for n, v in FULL.items() if n != "ml.throughput.flops"}

    assert with_derived(by_program)[name] == pytest.approx(4 / 6)
    assert with_derived(by_tokens)[name] == pytest.approx(0.1)
    for facts in (by_program, by_tokens):
        assert name not in derive({n: v for n, v in facts.items() if n != "probe.matmul.bf16.rate"})
        assert name not in derive({n: v for n, v in facts.items() if n != "config.precision.compute"})
