"""Metrics of the Triton Inference Server, and of TensorRT-LLM inside it -> facts.

A server holds many models; latencies and the batch are those of the model that computed most,
since a mean over an encoder and a language model describes neither.
"""

from __future__ import annotations

from collections.abc import Iterator

from advisor.readers.metrics.serving import REQUEST, TOKEN, S, completed, identity
from advisor.readers.metrics.window import Window, by_label, ratio
from advisor.readers.rows import Row, row, share

_US = 1e-6


def triton(w: Window) -> Iterator[Row]:
    """Facts of a Triton server."""
    yield from identity("triton")
    waiting = w.level("nv_inference_pending_request_count")
    engine = "nv_trt_llm_request_metrics"
    if w.levels(engine):
        waiting = w.level(engine, request_type="waiting") or waiting
        running = w.level(engine, request_type="scheduled")
        yield row("gen_ai.server.requests.running", running, REQUEST)
        blocks = "nv_trt_llm_kv_cache_block_metrics"
        yield share("gen_ai.server.kv_cache.utilization", _fraction(w, blocks))
        size, count = w.level(blocks, kv_cache_block_type="tokens_per"), w.level(blocks, kv_cache_block_type="max")
        yield row("gen_ai.server.kv_cache.capacity", size * count if size and count else None, TOKEN)
    yield row("gen_ai.server.requests.waiting", waiting, REQUEST)
    yield completed(w, w.grown("nv_inference_request_success"), None)
    yield from _busiest(w)
    yield share("system.cpu.utilization", w.level("nv_cpu_utilization"))
    yield row("system.memory.limit", w.level("nv_cpu_memory_total_bytes"), "By")


def _fraction(w: Window, name: str) -> float | None:
    return max(w.levels(name, kv_cache_block_type="fraction").values(), default=None)


def _busiest(w: Window) -> Iterator[Row]:
    """Batch and times per request of the model that computed most in the window."""
    computed = by_label(w.growth("nv_inference_compute_infer_duration_us"), "model")
    model = max(computed, key=lambda name: computed[name], default=None)
    if model is None or not computed[model]:
        return
    where = f"model {model}"
    requests = w.grown("nv_inference_request_success", model=model)
    batch = ratio(w.grown("nv_inference_count", model=model), w.grown("nv_inference_exec_count", model=model))
    yield row("gen_ai.server.batch.size.mean", batch, REQUEST, where)
    for fact, name in (("request.duration", "request"), ("queue.time", "queue"), ("inference.time", "compute_infer")):
        each = ratio(w.grown(f"nv_inference_{name}_duration_us", model=model), requests)
        yield row(f"gen_ai.server.{fact}", None if each is None else each * _US, S, where)
    first = w.mean("nv_inference_first_response_histogram_ms", model=model)  # only models that stream have it
    yield row("gen_ai.server.time_to_first_token", None if first is None else first / 1000, S, where)
