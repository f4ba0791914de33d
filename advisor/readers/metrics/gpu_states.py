"""Pages of an exporter -> the state of every GPU over the window, in base units.

Clocks, the link and throttling mean something only while a GPU computes, so each page is looked at
for itself: a GPU that worked for half of the window is judged by that half.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from advisor.readers.metrics.gpu_facts import BUSY, Gpu, PerGpu, State, States
from advisor.readers.metrics.gpu_names import LATEST, WHILE_BUSY, Names
from advisor.readers.metrics.prometheus import Labels, Series
from advisor.readers.metrics.window import INSTANCE, Window

Identify = Callable[[Mapping[str, str]], str | None]  # labels -> the GPU's name on its host
Naming = Callable[[Labels], Gpu | None]
Pages = Sequence[States]  # what each GPU was at, page by page

BLANK = 1e14  # DCGM fills a field that it could not read with a number near the top of its type


def naming(w: Window, prefixes: tuple[str, ...], identify: Identify) -> Naming:
    """Names GPUs, with their host only where there are several."""
    keys = {
        key for page in w.pages for name, series in page.samples.items() if name.startswith(prefixes) for key in series
    }
    hosts = {_host(dict(key)) for key in keys if identify(dict(key)) is not None}

    @functools.cache
    def gpu_of(key: Labels) -> Gpu | None:
        labels = dict(key)
        name = identify(labels)
        return None if name is None else (_host(labels) if len(hosts) > 1 else "", name)

    return gpu_of


def _host(labels: Mapping[str, str]) -> str:
    return labels.get("Hostname") or labels.get(INSTANCE) or ""


def by_page(w: Window, names: Names, gpu_of: Naming) -> list[States]:
    """The states of every GPU, page by page."""
    pages = []
    for page in w.pages:
        now = Window([page], None)
        states: dict[Gpu, dict[str, float]] = {}
        for key, (factor, known) in names.items():
            for gpu, value in per_gpu(now.latest(*known), gpu_of).items():
                if value >= 0 or key == "margin":
                    states.setdefault(gpu, {})[key] = value * factor
        pages.append(states)
    return pages


def over(pages: Pages) -> States:
    """What every GPU was at over the pages; ``busy`` is the share of its pages on which it computed."""
    seen: dict[Gpu, list[State]] = {}
    for states in pages:
        for gpu, state in states.items():
            seen.setdefault(gpu, []).append(state)
    return {gpu: _over(states) for gpu, states in seen.items()}


def _over(pages: Sequence[State]) -> State:
    busy = [page for page in pages if page.get("util", 0.0) > BUSY]
    found = {}
    for key in dict.fromkeys(key for page in pages for key in page):
        values = [page[key] for page in (busy if key in WHILE_BUSY else pages) if key in page]
        if values:
            found[key] = values[-1] if key in LATEST else _mean(values)
    drawn = [page["power"] for page in busy if "power" in page]
    if busy:
        found["busy"] = len(busy) / len(pages)
    if drawn:
        found["drawn"] = _mean(drawn)
    if "used" in found:
        found["peak"] = max(page["used"] for page in pages if "used" in page)
    return found


def per_gpu(series: Series, gpu_of: Naming) -> dict[Gpu, float]:
    """One value per GPU; a GPU that several pods share is listed for each of them."""
    found: dict[Gpu, float] = {}
    for key, value in series.items():
        gpu = gpu_of(key)
        if gpu is not None and abs(value) < BLANK:
            found[gpu] = value
    return found


def while_busy(w: Window, names: Sequence[str], gpu_of: Naming, pages: Pages) -> dict[Gpu, list[float]]:
    """The values of a gauge on those pages on which its GPU computed; nothing of a GPU that never did."""
    seen: dict[Gpu, list[float]] = {}
    for page, states in zip(w.pages, pages, strict=True):
        for gpu, value in per_gpu(Window([page], None).latest(*names), gpu_of).items():
            if states.get(gpu, {}).get("util", 0.0) > BUSY:
                seen.setdefault(gpu, []).append(value)
    return seen


def means(values: Mapping[Gpu, Sequence[float]]) -> PerGpu:
    """The mean per GPU."""
    return {gpu: _mean(v) for gpu, v in values.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
