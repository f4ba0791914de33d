"""Plays servers and exporters: a real prometheus_client HTTP server whose counters move with every scrape.

A page is a function of the number of the scrape, so that what a window must show is known exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Page = Callable[[int], Iterable[Metric]]
Values = float | Mapping[tuple[tuple[str, str], ...], float]
ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
LATENCY = (0.1, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 40.0)


class _Player(Collector):
    def __init__(self, page: Page) -> None:
        self._page, self._scrapes = page, 0

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        self._scrapes += 1
        return self._page(self._scrapes)


@contextmanager
def serving(page: Page) -> Iterator[str]:
    """The address of a server that shows `page`."""
    registry = CollectorRegistry()
    registry.register(_Player(page))
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _labelled(values: Values, labels: Mapping[str, str]) -> list[tuple[dict[str, str], float]]:
    if isinstance(values, int | float):
        return [(dict(labels), float(values))]
    return [({**labels, **dict(key)}, value) for key, value in values.items()]


def gauge(name: str, values: Values, **labels: str) -> Metric:
    rows = _labelled(values, labels)
    family = GaugeMetricFamily(name, name, labels=list(rows[0][0]))
    for pairs, value in rows:
        family.add_metric(list(pairs.values()), value)
    return family


def counter(name: str, values: Values, **labels: str) -> Metric:
    rows = _labelled(values, labels)
    family = CounterMetricFamily(name, name, labels=list(rows[0][0]))
    for pairs, value in rows:
        family.add_metric(list(pairs.values()), value)
    return family


def histogram(
    name: str, seen: Sequence[tuple[float, float]], bounds: Sequence[float] = LATENCY, **labels: str
) -> Metric:
    """`seen` holds (value, how often so far)."""
    family = HistogramMetricFamily(name, name, labels=list(labels))
    counts = [(str(bound), sum(n for value, n in seen if value <= bound)) for bound in bounds]
    counts.append(("+Inf", sum(n for _, n in seen)))
    family.add_metric(list(labels.values()), counts, sum(value * n for value, n in seen))
    return family


def vllm(
    n: int,
    *,
    running: Values = 40.0,
    waiting: Values = 0.0,
    cache: Values = 0.6,
    preempted: float = 0.0,
    tokens: float = 4000.0,
    done: float = 10.0,
    ttft: float = 0.2,
    queue: float = 0.01,
    prefill: float = 0.1,
    duration: float = 5.0,
    prompt: float = 900.0,
    gaps: Sequence[tuple[float, float]] = ((0.02, 990), (0.04, 10)),
    old: bool = False,
    **extra: float,
) -> list[Metric]:
    """The page of a vLLM server at its `n`-th scrape; counters grow by the amounts given, `old` is V0's spelling."""
    me = {"model_name": "m", "engine": "0"}
    each = {k: v for k, v in me.items() if isinstance(running, int | float) or k != "engine"}
    per_engine = lambda v: each if not isinstance(v, int | float) else me  # noqa: E731
    page = [
        gauge("vllm:num_requests_running", running, **per_engine(running)),
        gauge("vllm:num_requests_waiting", waiting, **per_engine(waiting)),
        gauge("vllm:gpu_cache_usage_perc" if old else "vllm:kv_cache_usage_perc", cache, **per_engine(cache)),
        counter("vllm:num_preemptions", 7 + preempted * n, **me),
        counter("vllm:generation_tokens", 1e6 + tokens * n, **me),
        counter("vllm:request_success", 100 + done * n, finished_reason="stop", **me),
        histogram("vllm:time_to_first_token_seconds", [(ttft, done * n)], **me),
        histogram("vllm:request_queue_time_seconds", [(queue, done * n)], **me),
        histogram("vllm:request_prefill_time_seconds", [(prefill, done * n)], **me),
        histogram("vllm:e2e_request_latency_seconds", [(duration, done * n)], **me),
        histogram("vllm:request_prompt_tokens", [(prompt, done * n)], (100, 1000, 10_000), **me),
        histogram(
            "vllm:time_per_output_token_seconds" if old else "vllm:inter_token_latency_seconds",
            [(value, count * n) for value, count in gaps],
            ITL,
            **me,
        ),
    ]
    return page + [counter(name.replace("__", ":"), value * n, **me) for name, value in extra.items()]
