"""How long a metrics page takes to parse, against the official client's parser, on a page like a busy server's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from advisor.readers.metrics.prometheus import parse

ROUNDS = 11


def page(models: int = 40, buckets: int = 25, histograms: int = 4) -> str:
    """Text of a server with that many models, each with histograms."""
    lines = []
    for h in range(histograms):
        name = f"server_latency_{h}_seconds"
        lines.append(f"# TYPE {name} histogram")
        for m in range(models):
            labels = f'model="model-{m}",version="1"'
            lines += [f'{name}_bucket{{{labels},le="{b}.0"}} {b * 7}' for b in range(buckets)]
            lines += [
                f'{name}_bucket{{{labels},le="+Inf"}} 999',
                f"{name}_sum{{{labels}}} 12.5",
                f"{name}_count{{{labels}}} 999",
            ]
    return "\n".join(lines) + "\n"


def median_ms(work: Callable[[], object]) -> float:
    """Median wall time in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def main() -> None:
    text = page()
    samples = sum(map(len, parse(text, "page").samples.values()))
    ours = median_ms(lambda: parse(text, "page"))
    theirs = median_ms(lambda: [s for family in text_string_to_metric_families(text) for s in family.samples])
    print(
        f"parse {samples} samples: {ours:.1f} ms; prometheus_client {theirs:.1f} ms; {theirs / ours:.1f} times as long"
    )


if __name__ == "__main__":
    main()
