"""What the servers of language models have in common: load, means of latency, the tail, the fullest cache.

Latencies are means over the window, loads sums over all engines and models, and the cache is
that of the fullest engine: one full engine preempts however empty the others are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from advisor.readers.metrics.prometheus import Series
from advisor.readers.metrics.window import INSTANCE, Window, ratio
from advisor.readers.rows import Row, row, share

REPLICA = ("engine", "dp_rank", "worker_addr", "pod", INSTANCE)
TTFT, TPOT, ITL = "time_to_first_token", "time_per_output_token", "inter_token_latency"
S, TOKEN, REQUEST = "s", "{token}", "{request}"

# Facts that are means of a histogram: unit, then the histogram's names, newest first.
Means = Mapping[str, tuple[str, Sequence[str]]]


def identity(framework: str) -> Iterator[Row]:
    """What kind of program this is."""
    yield row("run.phase", "serving", "{string}")
    yield row("run.framework", framework, "{string}")


def load(w: Window, running: Sequence[str], waiting: Sequence[str]) -> Iterator[Row]:
    """Requests running and waiting, and how evenly replicas share them."""
    yield row("gen_ai.server.requests.running", w.level(*running), REQUEST)
    yield row("gen_ai.server.batch.size.mean", average(w.levels(*running)) or None, REQUEST)  # every engine has its own
    yield row("gen_ai.server.requests.waiting", w.level(*waiting), REQUEST)
    queue = w.totals(*waiting)
    if w.seconds is not None and len(queue) > 1:
        yield row("gen_ai.server.requests.waiting.trend", (queue[-1] - queue[0]) / w.seconds, "{request}/s")
    yield from _imbalance(w.levels(*running))


def _imbalance(running: Series) -> Iterator[Row]:
    """Maximum over mean of the requests that the replicas of one model run."""
    models: dict[str, dict[tuple[str, ...], float]] = {}
    for key, value in running.items():
        labels = dict(key)
        replicas = models.setdefault(labels.get("model_name", ""), {})
        replica = tuple(labels.get(name, "") for name in REPLICA)
        replicas[replica] = replicas.get(replica, 0.0) + value
    uneven: dict[str, float] = {}
    for shared in models.values():
        if len(shared) > 1 and any(shared.values()):
            most = max(shared.values())
            worst = next(replica for replica, count in shared.items() if count == most)
            uneven[" ".join(filter(None, worst))] = most * len(shared) / sum(shared.values())
    if uneven:
        which = max(uneven, key=lambda name: uneven[name])
        yield row("gen_ai.server.replica.load.imbalance", uneven[which], "1", f"replica {which}")


def means(w: Window, names: Means) -> Iterator[Row]:
    """The mean of every histogram of the table."""
    for fact, (unit, histograms) in names.items():
        yield row(f"gen_ai.server.{fact}", w.mean(*histograms), unit)


def tail(w: Window, names: Sequence[str]) -> Iterator[Row]:
    """The 99th percentile of the gap between tokens, and how far it is from the median."""
    p50, p99 = w.quantile(0.5, *names), w.quantile(0.99, *names)
    yield row("gen_ai.server.inter_token_latency.p99", p99, S)
    if p50 is not None and p99 is not None:
        # Within the lowest bucket the median is a guess, and a guess near zero would make any tail look long.
        yield row(
            "gen_ai.server.inter_token_latency.tail_ratio", ratio(p99, max(p50, w.first_bound(*names) or 0.0)), "1"
        )


def fullest(w: Window, *names: str) -> Iterator[Row]:
    """The cache use of the engine that uses most, and the highest that any page shows."""
    used = w.levels(*names)
    which = max(used, key=lambda key: used[key], default=())
    labels = dict(which)
    where = " ".join(filter(None, (labels.get(name) for name in REPLICA))) if len(used) > 1 else ""
    yield share("gen_ai.server.kv_cache.utilization", used.get(which), f"replica {where}" if where else None)
    yield share("gen_ai.server.kv_cache.utilization.peak", max(w.peaks(*names).values(), default=None))


def completed(w: Window, done: float | None, aborted: float | None) -> Row:
    """Requests finished per second: a client that gave up is no sign of life."""
    rate = None if done is None or w.seconds is None else max(0.0, done - (aborted or 0.0)) / w.seconds
    return row("gen_ai.server.requests.rate", rate, "{request}/s")


def average(series: Series) -> float | None:
    """The mean of the series; None without one."""
    return sum(series.values()) / len(series) if series else None


def number(text: str | None) -> float | None:
    """The number in a label; None when there is none."""
    try:
        return float(text) if text else None
    except ValueError:
        return None
