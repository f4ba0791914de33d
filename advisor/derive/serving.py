"""Formulas about model servers: where the time of a request goes."""

from __future__ import annotations

from advisor.derive.formula import formula


@formula("gen_ai.server.queue.fraction", "gen_ai.server.queue.time", "gen_ai.server.time_to_first_token")
def queue_share(queue: float, ttft: float) -> float | None:
    """Queue time over time to first token (means over the same window).

    >>> queue_share(1.5, 2.0), queue_share(1.0, 0.0)
    (0.75, None)
    """
    return min(1.0, queue / ttft) if ttft > 0 else None


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
