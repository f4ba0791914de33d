"""What a server's pages say about the time between them: levels, growth, rates, means and quantiles.

One page has no growth; there a counter stands for everything since the server started, so that
means (sum over count) are still told, over the server's whole life, and rates are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from advisor.readers.metrics.prometheus import Labels, Page, Series, canonical

# Ranks of one engine report the same requests; replicas (engine, dp_rank, instance) report different ones.
RANKS = ("tp_rank", "pp_rank", "moe_ep_rank")
INSTANCE = "instance"  # which of several servers a series came from


class Window:
    """The pages of one or more servers of the same kind, oldest first.

    Args:
        pages: at least one.
        seconds: time between the first and the last page; None when it is not known.
    """

    def __init__(self, pages: Sequence[Page], seconds: float | None) -> None:
        self.pages = pages
        self.seconds = seconds if seconds and len(pages) > 1 else None

    @cached_property
    def names(self) -> frozenset[str]:
        """Every sample name of any page."""
        return frozenset(name for page in self.pages for name in page.samples)

    @property
    def lifetime(self) -> bool:
        """Whether counters stand for the server's whole life."""
        return len(self.pages) == 1

    @cached_property
    def restarted(self) -> bool:
        """Whether the process that serves the pages changed."""
        starts = {v for page in self.pages for v in page.series("process_start_time_seconds").values()}
        labels = {k for page in self.pages for k in page.series("process_start_time_seconds")}
        return len(starts) > len(labels)

    def _name(self, names: Sequence[str], suffixes: Sequence[str] = ("",)) -> str | None:
        """The first of the names that a page has, newest spelling first; counters may lack their ``_total``."""
        for name in map(canonical, names):
            for suffix in suffixes:
                if name + suffix in self.names:
                    return name + suffix
        return None

    def series(self, *names: str, **labels: str) -> list[Series]:
        """The series of a gauge with these labels, page by page; pages without it are left out."""
        name = self._name(names)
        pages = [_select(page.series(name), labels) for page in self.pages] if name else []
        return [page for page in pages if page]

    def _seen(self, names: Sequence[str], labels: Mapping[str, str]) -> dict[Labels, list[float]]:
        seen: dict[Labels, list[float]] = {}
        for page in self.series(*names, **labels):
            for key, value in page.items():
                seen.setdefault(key, []).append(value)
        return seen

    def levels(self, *names: str, **labels: str) -> Series:
        """Mean over the pages of every gauge series."""
        return {key: sum(values) / len(values) for key, values in self._seen(names, labels).items()}

    def peaks(self, *names: str, **labels: str) -> Series:
        """The largest value on any page of every gauge series."""
        return {key: max(values) for key, values in self._seen(names, labels).items()}

    def latest(self, *names: str, **labels: str) -> Series:
        """The last value of every gauge series."""
        return {key: values[-1] for key, values in self._seen(names, labels).items()}

    def totals(self, *names: str, **labels: str) -> list[float]:
        """The sum of a gauge over its series, page by page."""
        return [sum(page.values()) for page in self.series(*names, **labels)]

    def level(self, *names: str, **labels: str) -> float | None:
        """The sum of a gauge over its series, as a mean over the pages."""
        totals = self.totals(*names, **labels)
        return sum(totals) / len(totals) if totals else None

    def growth(self, *names: str, **labels: str) -> Series:
        """How much every counter series grew over the window; one page: its total."""
        name = self._name(names, ("_total", ""))
        return _select(self._grown(name), labels) if name else {}

    def grown(self, *names: str, **labels: str) -> float | None:
        """Growth over all series with these labels; None when there is none."""
        growth = self.growth(*names, **labels)
        return sum(growth.values()) if growth else None

    def rate(self, *names: str, **labels: str) -> float | None:
        """Growth per second; None when the time is not known or no page has such a counter."""
        grown = self.grown(*names, **labels)
        return None if grown is None or self.seconds is None else grown / self.seconds

    def fastest(self, *names: str, **labels: str) -> float | None:
        """Growth per second of the series that grew most: the busiest of several processes."""
        growth = self.growth(*names, **labels)
        return max(growth.values()) / self.seconds if growth and self.seconds else None

    def mean(self, *names: str, **labels: str) -> float | None:
        """Sum over count of a histogram or summary; None when nothing was observed in the window."""
        base = self._base(names)
        if base is None:
            return None
        count = sum(_select(self._grown(base + "_count"), labels).values())
        total = _select(self._grown(base + "_sum", base + "_count"), labels)
        return ratio(sum(total.values()), count) if total else None

    def quantile(self, share: float, *names: str, **labels: str) -> float | None:
        """A quantile of what a histogram observed in the window, linear within a bucket.

        Above the last finite bound that bound is given: at least so much.
        """
        return _quantile(self._buckets(names, labels), share)

    def first_bound(self, *names: str) -> float | None:
        """The upper bound of a histogram's lowest bucket: below it nothing can be told apart."""
        return min(self._buckets(names, {}), default=None)

    def _base(self, names: Sequence[str]) -> str | None:
        found = self._name(names, ("_count",))
        return found.removesuffix("_count") if found else None

    def _buckets(self, names: Sequence[str], labels: Mapping[str, str]) -> dict[float, float]:
        base = self._base(names)
        buckets: dict[float, float] = {}
        if base is None:
            return buckets
        for key, value in _select(self._grown(base + "_bucket", base + "_count"), labels).items():
            bound = _number(dict(key).get("le", ""))
            if bound is not None:
                buckets[bound] = buckets.get(bound, 0.0) + value
        return buckets

    def _grown(self, name: str, guard: str = "") -> Series:
        """Growth of every series; one that fell was reset and counts from zero.

        The parts of a histogram are reset together, which only its count tells for sure: `guard`.
        A series that appears later starts at zero: servers make labelled counters on first use.
        """
        last: dict[Labels, float] = dict(self.pages[0].series(name)) if not self.lifetime else {}
        guarded: dict[Labels, float] = dict(self.pages[0].series(guard)) if not self.lifetime else {}
        grown = dict.fromkeys(last, 0.0)
        for page in self.pages if self.lifetime else self.pages[1:]:
            counts = page.series(guard)
            fallen = {key for key, value in counts.items() if value < guarded.get(key, 0.0)}
            for key, value in page.series(name).items():
                old = last.get(key, 0.0)
                reset = value < old or (fallen and _without(key, "le") in fallen)
                grown[key] = grown.get(key, 0.0) + (value if reset else value - old)
                last[key] = value
            guarded.update(counts)
        return grown


def ratio(part: float | None, whole: float | None) -> float | None:
    """`part` over `whole`; None when either is missing or the whole is zero."""
    return part / whole if part is not None and whole else None


def by_label(series: Series, label: str, pick: Callable[[Sequence[float]], float] = sum) -> dict[str, float]:
    """The series grouped by the value of one label; those without it are left out."""
    groups: dict[str, list[float]] = {}
    for key, value in series.items():
        group = dict(key).get(label)
        if group is not None:
            groups.setdefault(group, []).append(value)
    return {group: pick(values) for group, values in groups.items()}


def merge(pages: Mapping[str, Page]) -> Page:
    """The pages of several servers of one kind as one: every series says whose it is."""
    samples: dict[str, dict[Labels, float]] = {}
    for origin, page in pages.items():
        for name, series in page.samples.items():
            into = samples.setdefault(name, {})
            for key, value in series.items():
                into[key if INSTANCE in dict(key) else tuple(sorted((*key, (INSTANCE, origin))))] = value
    return Page(samples)


def _select(series: Series, labels: Mapping[str, str]) -> Series:
    """The series with these labels, ranks of one engine as one, sums rather than their parts."""
    chosen: dict[Labels, float] = {}
    totals = any(("priority", "") in key for key in series)
    for key, value in series.items():
        pairs = dict(key)
        if any(pairs.get(name) != wanted for name, wanted in labels.items()):
            continue
        if totals and pairs.get("priority"):  # with priorities the total stands beside its parts
            continue
        one = _without(key, *RANKS) if "tp_rank" in pairs else key
        chosen[one] = max(value, chosen.get(one, value))
    return chosen


def _without(key: Labels, *names: str) -> Labels:
    return tuple(pair for pair in key if pair[0] not in names)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """The quantile of cumulative counts per upper bound."""
    bounds = sorted(buckets)
    if len(bounds) < 2 or buckets[bounds[-1]] <= 0 or bounds[-1] != float("inf"):
        return None
    rank = share * buckets[bounds[-1]]
    below, before = 0.0, 0.0
    for bound in bounds[:-1]:
        if buckets[bound] >= rank:
            inside = buckets[bound] - before
            return below + (bound - below) * ((rank - before) / inside if inside > 0 else 1.0)
        below, before = max(bound, 0.0), buckets[bound]
    return below
