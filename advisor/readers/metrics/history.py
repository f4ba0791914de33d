"""Samples of many targets, as a Prometheus server keeps them -> what they say together.

Samples are put back into the pages that were scraped, target by target, so that a history is read
by the same code as pages are. One service is judged at a time, with the GPUs and the machines
that it runs on: what several services do adds up to nothing.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from advisor.errors import InputError
from advisor.models import Reading, Source
from advisor.readers.artefact import Artefact, Tick, decode
from advisor.readers.metrics.kinds import KIND, Role, Target, kinds_of, names_of_kinds, readings
from advisor.readers.metrics.prometheus import MAX_BYTES, Labels, Page
from advisor.readers.metrics.samples import Track, read_samples
from advisor.readers.told import Told

MAX_PAGES = 61
TARGET = ("cluster", "namespace", "instance", "job")
# Two servers that scrape the same targets tell them apart so; one of the two is enough.
COPIES = ("prometheus_replica", "prometheus", "__replica__", "replica_external")
HOSTS = ("node", "nodename", "Hostname", "kubernetes_node", "host")
SHOWN = 6


@dataclass
class _Group:
    """The tracks of one target, without the labels that name it."""

    name: Mapping[str, str]
    tracks: dict[tuple[str, Labels], list[tuple[float, float]]] = field(default_factory=dict)
    hosts: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Found:
    """A target with what it is: its roles, its job and models, and the hosts that it may be on."""

    target: Target
    roles: frozenset[Role]
    job: str
    models: str
    hosts: frozenset[str]


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What saved answers, exports and dumps say together.

    Raises:
        InputError: when one cannot be read, or they hold no metrics of one service.
    """
    tracks: list[Track] = []
    notes: list[str] = []
    for artefact in artefacts:
        more, warnings = read_samples(decode(artefact.read(MAX_BYTES, tick)), artefact.origin)
        tracks += more
        notes += warnings
    origin = ", ".join(artefact.origin for artefact in artefacts)
    if not tracks:
        raise InputError(
            f"{origin} is an answer of Prometheus without any series; ask for metrics and a time that it has"
        )
    return [told(tracks, origin, ", ".join(artefact.name for artefact in artefacts), notes)]


def read_answers(answers: Iterable[str], origin: str, subject: str, notes: Sequence[str]) -> Told:
    """What a Prometheus server answered to several queries (raises InputError, as `told` does)."""
    tracks: list[Track] = []
    said = list(notes)
    for answer in answers:
        more, warnings = read_samples(answer, origin)
        tracks += more
        said += warnings
    return told(tracks, origin, subject, said, "say which with --select '{{{}=\"...\"}}'")


def told(
    tracks: Iterable[Track],
    origin: str,
    subject: str,
    notes: Sequence[str] = (),
    narrow: str = "save them for one {} only",
) -> Told:
    """What tracks say about one service, or about GPUs or a machine where there is no service.

    Args:
        tracks: the samples.
        origin: where they come from, for messages.
        subject: what was looked at.
        notes: what a person should know about the samples.
        narrow: how to ask for less, with a place for the label to do it by.

    Raises:
        InputError: when there is nothing of a known kind, or it has to be chosen which service is meant.
    """
    found = [f for group in _groups(tracks) if (f := _found(group, origin)) is not None]
    if not found:
        known = names_of_kinds()
        raise InputError(
            f"{origin} has no metrics of a kind that is known here ({known}); ask for those of one of these"
        )
    chosen, left = _chosen(found, origin, narrow)
    targets = [replace(f.target, notes=tuple(notes)) for f in chosen]
    first = min(target.times[0] for target in targets)
    seconds = max(target.times[-1] for target in targets) - first
    absent = [Reading(Source(KIND, origin, "absent", left))] if left else []
    return Told((*readings(targets), *absent), (), first, seconds, subject)


def _groups(tracks: Iterable[Track]) -> list[_Group]:
    groups: dict[tuple[str, ...], _Group] = {}
    for name, labels, points in tracks:
        pairs = dict(labels)
        whose = {key: pairs.pop(key) for key in TARGET if key in pairs}
        group = groups.setdefault(tuple(whose.values()), _Group(whose))
        group.hosts.update(pairs[key] for key in HOSTS if key in pairs)
        kept = tuple((key, value) for key, value in labels if key in pairs and key not in COPIES)
        group.tracks[name, kept] = _longer(group.tracks.get((name, kept), []), points)
    return list(groups.values())


def _longer(known: list[tuple[float, float]], more: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The samples of both: several answers may follow each other in time, or overlap."""
    return sorted({**dict(known), **dict(more)}.items()) if known else more


def _found(group: _Group, origin: str) -> _Found | None:
    """The target of a group, in pages; None when it is of no known kind."""
    instance = group.name.get("instance", "")
    host = instance.rpartition(":")[0] or instance
    shown = " ".join(group.name[key] for key in reversed(TARGET) if key in group.name) or origin
    times = _grid(group.tracks.values())
    target = Target(shown, _pages(group.tracks, times), times[-1] - times[0] or None, (), times)
    kinds = kinds_of(target)
    if not kinds:
        return None
    models = {dict(labels).get("model_name", "") for _, labels in group.tracks} - {""}
    job = " ".join(filter(None, (group.name.get("namespace"), group.name.get("job"))))
    roles = frozenset(kind.role for kind in kinds)
    return _Found(target, roles, job, " ".join(sorted(models)), frozenset((group.hosts | {host}) - {""}))


def _grid(tracks: Iterable[Sequence[tuple[float, float]]]) -> list[float]:
    """The times of the scrapes of one target, thinned evenly to at most `MAX_PAGES`."""
    every: set[float] = set()
    longest = 0
    kept: Sequence[tuple[float, float]] = ()
    for points in tracks:
        every.update(t for t, _ in points)
        if len(points) > longest:
            kept, longest = points, len(points)
    # Samples of one scrape share its time; where each has its own, the series with most samples leads.
    times = sorted(every) if len(every) <= 1.2 * longest + 1 else [t for t, _ in kept]
    if len(times) <= MAX_PAGES:
        return times
    return [times[round(i * (len(times) - 1) / (MAX_PAGES - 1))] for i in range(MAX_PAGES)]


def _pages(tracks: Mapping[tuple[str, Labels], Sequence[tuple[float, float]]], times: Sequence[float]) -> list[Page]:
    """One page per time, with that sample of every series which is nearest to it and to no other."""
    pages: list[dict[str, dict[Labels, float]]] = [{} for _ in times]
    middles = [(a + b) / 2 for a, b in pairwise(times)]
    for (name, labels), points in tracks.items():
        nearest: dict[int, tuple[float, float]] = {}
        for t, value in points:
            place = bisect.bisect_left(middles, t)
            nearest[place] = min(nearest.get(place, (math.inf, 0.0)), (abs(t - times[place]), value))
        for place, (_, value) in nearest.items():
            pages[place].setdefault(name, {})[labels] = value
    return [Page(page, t) for page, t in zip(pages, times, strict=True)]


def _chosen(found: Sequence[_Found], origin: str, narrow: str) -> tuple[list[_Found], str]:
    """One service with the GPUs and the machine it runs on, and what was left out, as a sentence.

    Raises:
        InputError: when there are several services, or several machines and nothing that tells which is meant.
    """
    servers = [f for f in found if "server" in f.roles]
    _one_service(servers, origin, narrow)
    hosts = frozenset(host for f in servers for host in f.hosts)
    gpus = [f for f in found if f.roles == {"gpu"}]
    kept, gpus_left = _near(gpus, hosts) if servers else (gpus, 0)
    hosts |= frozenset(host for f in kept for host in f.hosts)
    machines = [f for f in found if "machine" in f.roles]
    near, machines_left = _near(machines, hosts)
    if len(near) != 1 and machines:
        if not servers and not kept:
            names = [f.target.origin for f in machines]
            raise InputError(f"{origin} has {_several(names, 'machines')}; {narrow.format('instance')}")
        near, machines_left = [], len(machines)
    parts = [f"{n} {what}" for n, what in ((gpus_left, "exporters of GPUs"), (machines_left, "machines")) if n]
    left = f"{' and '.join(parts)} left out: it cannot be told which of them belongs to this" if parts else ""
    return [*servers, *kept, *near], left


def _one_service(servers: Sequence[_Found], origin: str, narrow: str) -> None:
    jobs = sorted({f.job for f in servers})
    models = sorted({f.models for f in servers if f.models})
    for names, label in ((jobs, "job"), (models, "model_name")):
        if len(names) > 1:
            raise InputError(f"{origin} has {_several(names, 'services')}; {narrow.format(label)}")


def _near(found: Sequence[_Found], hosts: frozenset[str]) -> tuple[list[_Found], int]:
    """Those on one of the hosts, or the only one there is; and how many are left out."""
    near = [f for f in found if f.hosts & hosts] or (list(found) if len(found) == 1 else [])
    return near, len(found) - len(near)


def _several(names: Sequence[str], what: str) -> str:
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return f"{len(names)} {what} ({shown})"
