"""Metrics of SGLang -> facts. Ranks of one engine count once, data-parallel ranks add up."""

from __future__ import annotations

from collections.abc import Iterator

from advisor.readers.metrics.serving import (
    ITL,
    TOKEN,
    TPOT,
    TTFT,
    Means,
    S,
    average,
    completed,
    fullest,
    identity,
    load,
    means,
    tail,
)
from advisor.readers.metrics.window import Window, ratio
from advisor.readers.rows import Row, row, share

_GAPS = ("sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds")
SGLANG: Means = {
    TTFT: (S, ("sglang:time_to_first_token_seconds",)),
    TPOT: (S, ("sglang:request_time_per_output_token_seconds", *_GAPS)),
    ITL: (S, _GAPS),
    "request.duration": (S, ("sglang:e2e_request_latency_seconds",)),
    "queue.time": (S, ("sglang:queue_time_seconds",)),
    "prompt_tokens.mean": (TOKEN, ("sglang:prompt_tokens_histogram",)),
    "grammar.time": (S, ("sglang:grammar_compilation_time_seconds",)),
}


def sglang(w: Window) -> Iterator[Row]:
    """Facts of an SGLang server; ranks of one engine count once, data-parallel ranks add up."""
    yield from identity("sglang")
    yield from load(w, ["sglang:num_running_reqs"], ["sglang:num_queue_reqs"])
    yield from means(w, SGLANG)
    yield from tail(w, _GAPS)
    prefill = w.mean("sglang:per_stage_req_latency_seconds", stage="prefill_forward")
    yield row("gen_ai.server.prefill.time", prefill, S)
    yield from fullest(w, "sglang:token_usage")
    yield row("gen_ai.server.kv_cache.capacity", w.level("sglang:max_total_num_tokens"), TOKEN)
    yield row("gen_ai.server.preemptions.rate", w.rate("sglang:num_retracted_requests"), "{event}/s")
    computed = w.rate("sglang:realtime_tokens", mode="prefill_compute")
    yield row("gen_ai.server.prompt_tokens.rate", computed, "{token}/s")
    yield row("gen_ai.server.generation_tokens.rate", _sglang_tokens(w), "{token}/s")
    yield completed(w, w.grown("sglang:num_requests"), w.grown("sglang:num_aborted_requests"))
    yield share("gen_ai.server.prefix_cache.hit_rate", _sglang_hits(w))
    yield from _sglang_engine(w)
    yield from _sglang_startup(w)


def _sglang_tokens(w: Window) -> float | None:
    """Tokens per second: the counter of finished requests stands still while long ones run."""
    live = w.rate("sglang:realtime_tokens", mode="decode")
    finished = w.rate("sglang:generation_tokens")
    streamed = w.rate("sglang:inter_token_latency_seconds_count")
    counted = [rate for rate in (live, finished, streamed) if rate is not None]
    if w.seconds is None or any(counted):
        return max(counted, default=None)
    gauges = w.totals("sglang:gen_throughput")
    # Older releases leave the last value standing when nothing runs any more.
    return gauges[-1] if len(set(gauges)) > 1 else max(counted, default=None)


def _sglang_hits(w: Window) -> float | None:
    """Share of prompt tokens from the cache: counters before the gauge, which knows only the last batch."""
    effective = w.growth("sglang:prefill_effective_tokens")
    if sum(effective.values()):
        hits = sum(v for key, v in effective.items() if dict(key).get("mode", "").endswith("_hit"))
        return hits / sum(effective.values())
    cached = w.grown("sglang:realtime_tokens", mode="prefill_cache") or 0.0
    computed = w.grown("sglang:realtime_tokens", mode="prefill_compute") or 0.0
    if cached + computed:
        return cached / (cached + computed)
    counted = ratio(w.grown("sglang:cached_tokens"), w.grown("sglang:prompt_tokens"))
    if counted is not None:
        return counted
    gauge = average(w.levels("sglang:cache_hit_rate"))
    return gauge / 100 if gauge is not None and gauge > 1 else gauge  # the first releases gave percent


def _sglang_engine(w: Window) -> Iterator[Row]:
    length = average(w.levels("sglang:spec_accept_length"))
    if length:  # 0 while nothing is drafted
        yield row("gen_ai.server.spec.accept_length", length, TOKEN)
        yield share("gen_ai.server.spec.acceptance_rate", average(w.levels("sglang:spec_accept_rate")))
    graph = w.grown("sglang:cuda_graph_passes", mode="decode_cuda_graph") or 0.0
    eager = w.grown("sglang:cuda_graph_passes", mode="decode_none") or 0.0
    yield share("gen_ai.server.cuda_graph.fraction", ratio(graph, graph + eager))
    busy = average(w.levels("sglang:fwd_occupancy"))  # percent
    if busy is not None and w.level("sglang:num_running_reqs"):
        yield share("gen_ai.server.engine.idle.fraction", 1 - busy / 100)
    cpu = w.fastest("sglang:scheduler_process_cpu_seconds")
    if cpu is None:
        cpu = w.fastest("sglang:process_cpu_seconds", component="scheduler")
    yield row("gen_ai.server.scheduler.cpu.utilization", cpu, "{cpu}")


def _sglang_startup(w: Window) -> Iterator[Row]:
    phases = w.levels("sglang:startup_time_seconds")
    whole = max(phases.values(), default=None) or w.level("sglang:engine_startup_time")
    weights = max(w.levels("sglang:startup_time_seconds", phase="load_weight").values(), default=None)
    yield row("gen_ai.server.startup.time", whole or None, S)  # releases that do not time it say 0
    yield row("gen_ai.server.weights.load.time", weights or w.level("sglang:engine_load_weights_time") or None, S)
