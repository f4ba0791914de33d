"""Metrics of vLLM (V0 and V1, data parallel too) -> facts. Names are those of its sources, newest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from advisor.readers.metrics.serving import (
    ITL,
    TOKEN,
    TPOT,
    TTFT,
    Means,
    S,
    completed,
    fullest,
    identity,
    load,
    means,
    number,
    tail,
)
from advisor.readers.metrics.window import Window, ratio
from advisor.readers.rows import Row, row, share

_GAPS = ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")
VLLM: Means = {
    TTFT: (S, ("vllm:time_to_first_token_seconds",)),
    # Releases without the histogram per request tell the same mean weighted by tokens.
    TPOT: (S, ("vllm:request_time_per_output_token_seconds", *_GAPS)),
    ITL: (S, _GAPS),
    "request.duration": (S, ("vllm:e2e_request_latency_seconds",)),
    "queue.time": (S, ("vllm:request_queue_time_seconds", "vllm:time_in_queue_requests")),
    "inference.time": (S, ("vllm:request_inference_time_seconds",)),
    "prefill.time": (S, ("vllm:request_prefill_time_seconds",)),
    "prompt_tokens.mean": (TOKEN, ("vllm:request_prompt_tokens",)),
}


def vllm(w: Window) -> Iterator[Row]:
    """Facts of a vLLM server (V0 and V1, data parallel too)."""
    yield from identity("vllm")
    yield from load(w, ["vllm:num_requests_running"], ["vllm:num_requests_waiting"])
    yield from means(w, VLLM)
    yield from tail(w, _GAPS)
    yield from fullest(w, "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
    yield row("gen_ai.server.preemptions.rate", w.rate("vllm:num_preemptions"), "{event}/s")
    tokens = w.rate("vllm:generation_tokens")
    if w.lifetime:  # the first releases told the rate of the last seconds themselves
        tokens = w.level("vllm:avg_generation_throughput_toks_per_s")
    yield row("gen_ai.server.prompt_tokens.rate", w.rate("vllm:prompt_tokens"), "{token}/s")
    yield row("gen_ai.server.generation_tokens.rate", tokens, "{token}/s")
    done, aborted = w.grown("vllm:request_success"), w.grown("vllm:request_success", finished_reason="abort")
    yield completed(w, done, aborted)
    hits = w.grown("vllm:prefix_cache_hits", "vllm:gpu_prefix_cache_hits")
    asked = w.grown("vllm:prefix_cache_queries", "vllm:gpu_prefix_cache_queries")
    yield share("gen_ai.server.prefix_cache.hit_rate", ratio(hits, asked))
    generated, wanted = w.mean("vllm:request_generation_tokens"), w.mean("vllm:request_params_max_tokens")
    yield row("gen_ai.server.max_tokens.ratio", ratio(generated, wanted), "1")
    yield from _vllm_drafts(w)
    yield from _vllm_config(w)
    # The server of the metrics is the API server: the engine core has a process of its own.
    yield row("gen_ai.server.frontend.cpu.utilization", w.fastest("process_cpu_seconds"), "{cpu}")


def _vllm_drafts(w: Window) -> Iterator[Row]:
    accepted, drafts = w.grown("vllm:spec_decode_num_accepted_tokens"), w.grown("vllm:spec_decode_num_drafts")
    proposed = w.grown("vllm:spec_decode_num_draft_tokens")
    yield share("gen_ai.server.spec.acceptance_rate", ratio(accepted, proposed))
    kept = ratio(accepted, drafts)
    yield row("gen_ai.server.spec.accept_length", None if kept is None else 1 + kept, TOKEN)


def _vllm_config(w: Window) -> Iterator[Row]:
    told = [dict(key) for key in w.levels("vllm:cache_config_info")]
    if not told:
        return
    tokens = [_tokens(labels) for labels in told]
    known = [t for t in tokens if t is not None]
    yield row("gen_ai.server.kv_cache.capacity", sum(known) if len(known) == len(told) else None, TOKEN)
    first = told[0]
    offload = number(first.get("cpu_offload_gb"))
    yield row("config.offload", None if offload is None else offload > 0, "{bool}")
    reuse = {"true": True, "false": False}.get(first.get("enable_prefix_caching", "").lower())
    yield row("config.prefix_caching", reuse, "{bool}")
    yield row("config.kv_cache.dtype", first.get("cache_dtype"), "{string}")


def _tokens(labels: Mapping[str, str]) -> float | None:
    """Tokens that the cache of one engine holds; hybrid models say so themselves, since blocks differ there."""
    told = number(labels.get("kv_cache_size_tokens"))
    blocks, size = number(labels.get("num_gpu_blocks")), number(labels.get("block_size"))
    return told or (blocks * size if blocks and size else None)
