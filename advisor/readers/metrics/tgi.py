"""Metrics of Text Generation Inference -> facts."""

from __future__ import annotations

from collections.abc import Iterator

from advisor.readers.metrics.serving import (
    TOKEN,
    TPOT,
    Means,
    S,
    completed,
    identity,
    load,
    means,
)
from advisor.readers.metrics.window import Window, ratio
from advisor.readers.rows import Row, row

TGI: Means = {
    "request.duration": (S, ("tgi_request_duration",)),
    "inference.time": (S, ("tgi_request_inference_duration",)),
    "queue.time": (S, ("tgi_request_queue_duration",)),
    "prompt_tokens.mean": (TOKEN, ("tgi_request_input_length",)),
}


def tgi(w: Window) -> Iterator[Row]:
    """Facts of a Text Generation Inference server."""
    yield from identity("tgi")
    yield from load(w, ["tgi_batch_current_size"], ["tgi_queue_size"])
    yield from means(w, TGI)
    passes = ("tgi_batch_forward_duration", "tgi_batch_inference_duration")
    yield row("gen_ai.server.prefill.time", w.mean(*passes, method="prefill"), S)
    # A decode pass gives every request a token; the server's own time per token includes prefill.
    decode = w.mean("tgi_batch_inference_duration", "tgi_batch_forward_duration", method="decode")
    yield row(f"gen_ai.server.{TPOT}", decode, S)
    yield row("gen_ai.server.generation_tokens.rate", _tgi_tokens(w), "{token}/s")
    yield completed(w, w.grown("tgi_request_success"), None)
    generated, wanted = w.mean("tgi_request_generated_tokens"), w.mean("tgi_request_max_new_tokens")
    yield row("gen_ai.server.max_tokens.ratio", ratio(generated, wanted), "1")
    skipped = w.mean("tgi_request_skipped_tokens")  # 0 without speculation
    yield row("gen_ai.server.spec.accept_length", 1 + skipped if skipped else None, TOKEN)


def _tgi_tokens(w: Window) -> float | None:
    """Tokens per second; while no request ends, passes times requests in the batch."""
    finished = w.rate("tgi_request_generated_tokens_sum")
    passes, size = w.rate("tgi_batch_inference_count", method="decode"), w.level("tgi_batch_current_size")
    return passes * size if not finished and passes and size else finished
