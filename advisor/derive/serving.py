"""Formulas about model servers: where the time of a request goes, and how many requests the KV cache holds."""

from __future__ import annotations

import math

from advisor.derive.formula import formula

FULL = 0.9  # share of the KV cache to plan with: answers grow, and a full cache preempts
REACH = 4.0  # how far the present fill is extrapolated, in present requests
RESERVE = 0.05  # share of the device outside a server's pool: CUDA context, graphs, communication buffers
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "fp16": 2, "bf16": 2, "f32": 4, "f16": 2}


@formula("gen_ai.server.queue.fraction", "gen_ai.server.queue.time", "gen_ai.server.time_to_first_token")
def queue_share(queue: float, ttft: float) -> float | None:
    """Queue time over time to first token (means over the same window).

    >>> queue_share(1.5, 2.0), queue_share(1.0, 0.0)
    (0.75, None)
    """
    return min(1.0, queue / ttft) if ttft > 0 else None


@formula("gen_ai.server.queue.fraction", "gen_ai.server.queue.time", "gen_ai.server.request.duration", "run.framework")
def queue_share_whole(queue: float, duration: float, framework: str) -> float | None:
    """The same where an answer comes in one piece, as Triton's do: the first token is the last.

    >>> queue_share_whole(1.5, 2.0, "triton"), queue_share_whole(1.5, 2.0, "vllm")
    (0.75, None)
    """
    return min(1.0, queue / duration) if framework == "triton" and duration > 0 else None


@formula("derived.serving.queue.fraction", "gen_ai.server.queue.time", "gen_ai.server.request.duration")
def queue_of_request(queue: float, duration: float) -> float | None:
    """Queue time over end-to-end request time: at most this can be won back by not waiting.

    >>> queue_of_request(1.5, 6.0)
    0.25
    """
    return min(1.0, queue / duration) if duration > 0 else None


@formula("derived.serving.prefill.fraction", "gen_ai.server.prefill.time", "gen_ai.server.request.duration")
def prefill_of_request(prefill: float, duration: float) -> float | None:
    """Prefill time over end-to-end request time: the bound for reusing every prefix.

    >>> prefill_of_request(2.0, 8.0)
    0.25
    """
    return min(1.0, prefill / duration) if duration > 0 else None


@formula("derived.serving.decode.fraction", "gen_ai.server.time_to_first_token", "gen_ai.server.request.duration")
def decode_of_request(ttft: float, duration: float) -> float | None:
    """Share of a request after its first token.

    >>> decode_of_request(2.0, 8.0)
    0.75
    """
    return max(0.0, 1.0 - ttft / duration) if duration > 0 else None


@formula(
    "derived.serving.prefill.work.fraction",
    "gen_ai.server.prefill.time",
    "gen_ai.server.request.duration",
    "gen_ai.server.queue.time",
)
def prefill_of_work(prefill: float, duration: float, queue: float) -> float | None:
    """Prefill time over the time a request is worked on; by Little's law the share of running requests in prefill.

    >>> prefill_of_work(2.0, 14.0, 10.0), prefill_of_work(0.0, 1.0, 1.0)
    (0.5, None)
    """
    work = duration - queue
    return min(1.0, prefill / work) if work > 0 else None


@formula("derived.serving.preemptions.untimed", "gen_ai.server.preemptions.rate")
def timed_preemptions(_: float) -> float:
    """None are without a time where a rate is known.

    >>> timed_preemptions(0.2)
    0.0
    """
    return 0.0


@formula("derived.serving.preemptions.untimed", "gen_ai.server.preemptions.count")
def untimed_preemptions(count: float) -> float:
    """Preempted requests where no rate is known, as of a log of one line.

    >>> untimed_preemptions(1.0)
    1.0
    """
    return count


@formula("derived.serving.cpu.needed", "hw.gpu.count")
def serving_cpus(gpus: float) -> float | None:
    """Hyperthreads for one API server, one engine core and a worker per GPU: 2 * (2 + N) (vLLM optimization guide).

    >>> serving_cpus(1), serving_cpus(8), serving_cpus(0)
    (6, 20, None)
    """
    return 2 * (2 + gpus) if gpus > 0 else None


@formula(
    "derived.serving.kv.request.tokens",
    "gen_ai.server.kv_cache.utilization",
    "gen_ai.server.kv_cache.capacity",
    "gen_ai.server.requests.running",
)
def tokens_of_request(fill: float, capacity: float, running: float) -> float | None:
    """Tokens that a running request holds in the KV cache on average; None with less than one running.

    >>> tokens_of_request(0.9, 100e3, 60.0), tokens_of_request(0.9, 100e3, 0.5)
    (1500.0, None)
    """
    return fill * capacity / running if running >= 1 else None


@formula(
    "derived.serving.max_num_seqs.fitting",
    "gen_ai.server.kv_cache.utilization",
    "gen_ai.server.requests.running",
    optional=("config.data_parallel.size",),
)
def fitting_sequences(fill: float, running: float, engines: float | None) -> float | None:
    """Requests at a time that fill nine tenths of the KV cache, at the length that the running ones have now.

    At most four times the present number, because those that wait may be longer. Rounded down to a multiple of 8
    from 16 on. None for several engines, whose requests are counted together while each has a cache of its own.

    >>> fitting_sequences(0.97, 200.0, None), fitting_sequences(0.1, 4.0, None), fitting_sequences(0.5, 10.0, None)
    (184.0, 16.0, 16.0)
    >>> fitting_sequences(0.0, 4.0, None), fitting_sequences(0.9, 0.5, None), fitting_sequences(0.9, 50.0, 2.0)
    (None, None, None)
    """
    if fill <= 0 or running < 1 or (engines or 1) > 1:
        return None
    fits = math.floor(min(REACH, FULL / fill) * running + 1e-9)
    return float(max(1, fits // 8 * 8 if fits >= 16 else fits))


@formula("derived.serving.context.fitting", "gen_ai.server.kv_cache.concurrency", "config.context.length")
def fitting_context(concurrency: float, length: float) -> float | None:
    """Longest request that the KV cache holds, in tokens, rounded down to a multiple of 256; None when the limit fits.

    The memory per token is the same for every length, so the room for `concurrency` requests of `length` is that for
    one of ``concurrency * length``.

    >>> fitting_context(0.335, 262144.0), fitting_context(1.5, 8192.0), fitting_context(0.0, 8192.0)
    (87808.0, None, None)
    """
    fits = math.floor(concurrency * length) // 256 * 256
    return float(fits) if concurrency < 1 and fits > 0 else None


@formula(
    "derived.serving.gpu_memory_utilization.fitting",
    "hw.gpu.memory.limit",
    "hw.gpu.process.foreign_memory",
    "hw.gpu.memory.peak_utilization",
)
def fitting_share(limit: float, foreign: float, peak: float) -> float | None:
    """Share of the device that a server may take beside other processes, leaving 5 % outside its pool.

    It counts what the server itself may use of the whole device (vLLM's gpu_memory_utilization). None where that
    would add less than 2 % to what the device already holds at the peak. Rounded down to a hundredth.

    >>> fitting_share(80e9, 0.0, 0.9), fitting_share(80e9, 16e9, 0.9), fitting_share(80e9, 0.0, 0.94)
    (0.95, 0.75, None)
    """
    if limit <= 0:
        return None
    share = math.floor((1.0 - RESERVE - foreign / limit) * 100 + 1e-9) / 100
    return share if share + foreign / limit >= peak + 0.02 else None


@formula(
    "derived.serving.kv.token.bytes",
    "config.model.layers",
    "config.model.kv_heads",
    "config.model.head_size",
    "config.kv_cache.dtype",
    optional=("config.model.dtype",),
)
def token_bytes(layers: float, heads: float, size: float, kind: str, dtype: str | None) -> float | None:
    """Bytes of KV cache per token: a key and a value per layer and KV head (PagedAttention, arXiv 2309.06180).

    >>> token_bytes(32.0, 8.0, 128.0, "auto", "bfloat16"), token_bytes(32.0, 8.0, 128.0, "fp8", None)
    (131072.0, 65536.0)
    >>> token_bytes(32.0, 8.0, 128.0, "auto", None)
    """
    each = 1 if kind.startswith(("fp8", "int8")) else _BYTES.get(dtype or "" if kind == "auto" else kind)
    return 2 * layers * heads * size * each if each else None


@formula("derived.serving.kv.context.bytes", "derived.serving.kv.token.bytes", "config.context.length")
def context_bytes(token: float, length: float) -> float:
    """Bytes of KV cache for one request of full length.

    >>> context_bytes(131072.0, 32768.0)
    4294967296.0
    """
    return token * length
