"""Which facts a site can know: the same machine seen through more or fewer sources.

What a source gives is read from the vocabulary itself: what a measurement covers, and where a fact comes from.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import yaml

from advisor.kb import default_folder
from bench.accuracy.baseline.draw import Facts

# View -> measurements whose facts it has, and upstream names whose facts it has.
VIEWS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "hook": (("watch-the-run",), ("profile",)),
    "host": (("sample-the-host",), ()),
    "nvidia-smi": ((), ("smi",)),
    "exporters": ((), ("dcgm", "node_exporter")),
    "trace": (("profile-the-steps",), ()),
    "log": (("read-the-training-log",), ()),
    "log+smi": (("read-the-training-log",), ("smi",)),
    "hook+trace": (("watch-the-run", "profile-the-steps"), ()),
    "kernel log+host": (("read-the-kernel-log", "sample-the-host"), ()),
    "scrape": (("scrape-the-server",), ()),
    "scrape+host": (("scrape-the-server", "sample-the-host"), ()),
    "scrape+exporters": (("scrape-the-server",), ("dcgm", "node_exporter")),
}
# Readers of nvidia-smi and of DCGM give these under the name of the derived fact.
_GPU_TOO = set(
    """hw.gpu.memory.usage hw.gpu.memory.utilization hw.gpu.clock.sm hw.gpu.clock.sm.max hw.gpu.clock.sm.ratio
    hw.gpu.memory.peak_utilization hw.gpu.utilization.spread hw.gpu.pcie.link.gen hw.gpu.pcie.link.gen.max
    hw.gpu.pcie.link.width.max hw.gpu.pcie.link.gen.ratio hw.gpu.pcie.link.width.ratio hw.gpu.memory.usage.min
    hw.gpu.clock.spread""".split()
)


@functools.cache
def _vocabulary() -> Any:
    return yaml.safe_load((default_folder() / "facts.yaml").read_text(encoding="utf-8"))


@functools.cache
def _known(view: str) -> frozenset[str]:
    measurements, upstream = VIEWS[view]
    covered = [m["covers"] for m in _vocabulary()["measurements"] if m["id"] in measurements]
    named = {f["name"] for f in _vocabulary()["facts"] if any(_of(x, upstream) for x in f.get("from", ()))}
    too = _GPU_TOO if {"smi", "dcgm"} & set(upstream) else set()
    return frozenset(named | too | {name for covers in covered for name in covers})


def _of(source: str, upstream: Iterable[str]) -> bool:
    return source.partition(":")[0] in upstream


def seen(view: str, facts: Facts) -> Facts:
    """The facts that the view shows; all of them for "everything"."""
    if view == "everything":
        return facts
    return {name: value for name, value in facts.items() if name in _known(view)}


def sources(view: str) -> list[dict[str, str]]:
    """The sources of a view, as a document lists them."""
    kinds = {m["id"]: m["source"] for m in _vocabulary()["measurements"]}
    if view == "everything":
        return []
    measurements, upstream = VIEWS[view]
    names = [kinds[m] for m in measurements] + [
        {"smi": "nvidia-smi"}.get(u, "scrape") for u in upstream if u != "profile"
    ]
    return [{"kind": kind, "origin": kind, "state": "ok"} for kind in dict.fromkeys(names)]
