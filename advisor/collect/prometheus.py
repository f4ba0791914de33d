"""Asks a Prometheus server for the last minutes of what it has scraped.

Every server that speaks its query API will do: Thanos, Mimir, VictoriaMetrics, also below a path.
Only the text of the answers is handed on; what it means is for `readers`. How much is asked for is
decided before: the series are counted first, and their number sets how close the samples stand.
"""

from __future__ import annotations

import http.client
import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import SplitResult, urlencode

from advisor.collect.http import TIMEOUT_S, address, ask, checked, refusal
from advisor.collect.prometheus_query import Family, Span, plan
from advisor.errors import InputError, TooLarge

SECONDS = 300.0  # how far to look back when nobody says
MAX_SERIES = 60_000  # their names and labels alone are some twenty megabytes
INTERVAL_S, MAX_INTERVAL_S = 15.0, 120.0  # between two scrapes: when it cannot be seen, and at most
SHOWN = 8
LOOK_BACK = "10m"  # for how often a target is scraped
_TIMES_SLOWER = 3  # an answer over many series takes longer than a page
_SAID = 200
_JSON = "application/json"

# What comes of an answer that has another form than it should.
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
Tick = Callable[[float], None]


def _quiet(_: float) -> None:
    """For who does not want to know how far it is."""


def _no_number(text: str) -> float:
    raise ValueError(text)


@dataclass
class Recorded:
    """What a server answered: one text per query, and what a person should know about it."""

    origin: str
    answers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find(url: str, timeout_s: float = TIMEOUT_S) -> Prometheus | None:
    """The Prometheus server at or above an address; None when none answers there."""
    parts = checked(url)
    for path in _paths(parts.path):
        server = Prometheus(parts._replace(path=path, query="", fragment=""), timeout_s)
        try:
            if server.answers():
                return server
        except InputError:  # nobody is there: who scrapes it says why
            return None
    return None


def _paths(path: str) -> Iterable[str]:
    """Where the API may be: people give the address of the server, of its page of graphs, or of a query."""
    base = path.partition("/api/v1")[0].rstrip("/")
    if base.endswith("/metrics"):
        return ()
    return dict.fromkeys((base, base.rpartition("/")[0], "" if base else "/prometheus"))


class Refused(InputError):
    """The server answers, but not this query."""


class Prometheus:
    """The query API of one server."""

    def __init__(self, parts: SplitResult, timeout_s: float = TIMEOUT_S) -> None:
        self._parts, self._timeout = parts, timeout_s
        self._slow = _TIMES_SLOWER * timeout_s
        self.origin = address(parts).rstrip("/")

    def answers(self) -> bool:
        """Whether it answers as Prometheus does (raises InputError when nothing answers)."""
        response = ask(self._at("query", {"query": "1"}), self._timeout, _JSON)
        try:
            document = json.loads(response.text)
            return document["status"] == "success" and bool(document["data"]["resultType"])
        except _MALFORMED:
            return False

    def record(
        self,
        families: Sequence[str],
        beside: str,
        selects: Sequence[str] = (),
        seconds: float = SECONDS,
        tick: Tick = _quiet,
    ) -> Recorded:
        """The samples of the last `seconds` of metrics whose names match.

        Args:
            families: regular expressions for names; each is a query of its own, and one that fails costs no other.
            beside: one for names that say nothing alone.
            selects: matchers as `selector` gives them; a series is wanted when it matches any of these.
            seconds: made longer where it holds too few scrapes.
            tick: is told how much is done, of 1.

        Raises:
            InputError: when it has none of them, has too many, or all queries fail.
        """
        kept = [Family(names, select) for select in selects or [""] for names in families]
        now, counts = self._count(kept)
        total = sum(sum(names.values()) for names in counts.values())
        where = f" with {' or '.join(selects)}" if selects else ""
        if not total:
            raise InputError(f"{self.origin} has no metrics of a kind that is known here{where}{self._jobs()}")
        if total > MAX_SERIES:
            raise TooLarge(
                f"{self.origin} has {total:,} series{where}, more than {MAX_SERIES:,}; narrow it with --select "
                f"'{{job=\"...\"}}'{self._jobs()}"
            )
        tick(0.1)
        span = plan(now, seconds, *self._pace(counts), total)
        recorded = Recorded(self.origin)
        failed = self._range(list(counts), span, recorded)
        if not recorded.answers:
            raise failed[0]
        tick(0.9)
        failed += self._range([Family(beside, select) for select in selects or [""]], span, recorded)
        if failed:
            recorded.notes.append(f"{len(failed)} queries failed: {failed[0]}")
        tick(1.0)
        return recorded

    def _count(self, wanted: Sequence[Family]) -> tuple[float, dict[Family, dict[str, int]]]:
        """The server's time, and how many series of each name there are; families that have none are left out."""
        now = 0.0
        counts: dict[Family, dict[str, int]] = {}
        refused: list[InputError] = []
        for family in wanted:
            try:
                found = self._result(f"count by (__name__) ({family.query})")
            except Refused as error:
                refused.append(error)
                continue
            with self._understood():
                now = max([now, *(float(x["value"][0]) for x in found)])
                names = {str(x["metric"]["__name__"]): int(float(x["value"][1])) for x in found}
            if names:
                counts[family] = names
        if refused and not counts:
            raise refused[0]
        return now, counts

    def _pace(self, counts: Mapping[Family, Mapping[str, int]]) -> tuple[float, list[float]]:
        """Seconds between two scrapes of the slowest target, and when each target was scraped last.

        The name with the fewest series stands for its family.
        """
        usual, lasts = [], []
        for family, names in counts.items():
            one = min(names, key=lambda name: names[name])
            try:
                with self._understood():
                    found = self._result(f"{Family(one, family.select).query}[{LOOK_BACK}]")
                    scrapes = [[float(t) for t, _ in x.get("values", ())] for x in found]
            except InputError:  # then the usual pace is taken
                continue
            lasts += [times[-1] for times in scrapes if times]
            usual += [
                statistics.median(gaps) for times in scrapes if (gaps := [b - a for a, b in pairwise(times) if b > a])
            ]
        return min(max(usual, default=INTERVAL_S), MAX_INTERVAL_S), lasts

    def _range(self, families: Sequence[Family], span: Span, into: Recorded) -> list[InputError]:
        """Ask for the samples of each; what failed. A server that hangs is not asked again."""
        failed: list[InputError] = []
        for family in families:
            query = {"query": family.query, "start": span.start, "end": span.end, "step": span.step, "nocache": 1}
            try:
                into.answers.append(self._ask("query_range", query))
            except (Refused, TooLarge) as error:
                failed.append(error)
            except InputError as error:
                return [*failed, error]
        return failed

    def _result(self, query: str) -> list[dict[str, Any]]:
        """The series of an instant query (raises InputError)."""
        text = self._ask("query", {"query": query})
        with self._understood():
            return [dict(x) for x in json.loads(text, parse_constant=_no_number)["data"]["result"]]

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Say in one sentence when an answer is not of the form that the API promises."""
        try:
            yield
        except _MALFORMED:
            raise InputError(f"{self.origin} answers a query with what is not understood; is it Prometheus?") from None

    def _jobs(self) -> str:
        """What may be selected, as the end of a sentence."""
        try:
            names = json.loads(self._ask("label/job/values", {}))["data"]
            names = [name[:60] for name in names if isinstance(name, str)]
        except (InputError, *_MALFORMED):
            names = []
        shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        return f"; its jobs are: {shown}" if shown else "; see what it scrapes under Status, Targets"

    def _ask(self, path: str, query: Mapping[str, object]) -> str:
        """The text of a successful answer (raises InputError)."""
        response = ask(self._at(path, query), self._slow, _JSON)
        if response.status < http.client.BAD_REQUEST:
            return response.text
        try:
            said = str(json.loads(response.text)["error"])[:_SAID]
        except _MALFORMED:
            raise refusal(self._parts, response.status) from None
        raise Refused(f"{self.origin} does not answer a query ({said}); narrow it with --select or fewer --seconds")

    def _at(self, path: str, query: Mapping[str, object]) -> SplitResult:
        return self._parts._replace(path=f"{self._parts.path}/api/v1/{path}", query=urlencode(query))
