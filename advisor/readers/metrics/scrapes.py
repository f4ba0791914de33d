"""Metrics pages, fetched or saved -> readings.

Saved pages of one server are put in order of time, so that their counters give growth: by the
clock in the page, else by the start of the process, else by what grew; the time between them
is that of the clock, else of the files. Copies lose the times of files: a gap below one
second is not believed, and then means are told and rates are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from advisor.errors import InputError
from advisor.models import Reading, Source
from advisor.readers.artefact import Artefact, Tick, decode
from advisor.readers.metrics.history import told
from advisor.readers.metrics.kinds import KIND, Target, readings
from advisor.readers.metrics.prometheus import MAX_BYTES, Page, parse
from advisor.readers.metrics.samples import Track
from advisor.readers.told import Told

SAME = 0.5  # two pages that share half of their series are of one server
LEAST_GAP_S = 1.0
_CLOCKS = ("node_time_seconds",)
_CUMULATIVE = ("_total", "_count", "_sum", "_bucket")
_START = "process_start_time_seconds"
# Whose labels name the machine: pages that name different ones are not of one server, however alike they are.
_IDENTITY = ("nvidia_smi_gpu_info", "node_uname_info")


@dataclass(frozen=True, slots=True)
class _File:
    artefact: Artefact
    page: Page

    @property
    def clock(self) -> float | None:
        """When the page was taken, as the page says."""
        told = [value for name in _CLOCKS for value in self.page.series(name).values()]
        return self.page.time or next(iter(told), None)

    @property
    def started(self) -> float:
        """When the server's process started, 0 when it does not say."""
        return max(self.page.series(_START).values(), default=0.0)


def read_targets(fetched: Sequence[tuple[str, Sequence[tuple[float, str]], str]]) -> tuple[Reading, ...]:
    """What addresses say: per address its name, its pages with times on a steady clock, and a note.

    Raises:
        InputError: when no address gave a page that is understood and of a known kind.
    """
    targets: list[Target] = []
    silent: list[Reading] = []
    for origin, pages, note in fetched:
        target, wrong = _fetched(origin, pages, note)
        if target.pages:
            targets.append(target)
        else:
            silent.append(Reading(Source(KIND, origin, "unreadable", wrong or note)))
    if not targets:
        raise InputError(silent[0].source.note)
    return (*readings(targets), *silent)


def _fetched(origin: str, pages: Sequence[tuple[float, str]], note: str) -> tuple[Target, str]:
    """The pages of one address that can be read, and what was wrong with one that cannot."""
    parsed: list[tuple[float, Page]] = []
    wrong = ""
    for t, text in pages:
        try:
            parsed.append((t, parse(text, origin)))
        except InputError as error:
            wrong = str(error)
    seconds = parsed[-1][0] - parsed[0][0] if parsed else None
    notes = dict.fromkeys((note, wrong, *(page.note for _, page in parsed)))
    times = [t for t, _ in parsed]
    return Target(origin, [page for _, page in parsed], seconds, [n for n in notes if n], times), wrong


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What saved pages say together.

    Raises:
        InputError: when one cannot be read or holds no metrics of a known kind.
    """
    files = [_File(a, parse(decode(a.read(MAX_BYTES, tick)), a.origin)) for a in artefacts]
    of_many = [file for file in files if _of_many(file.page)]
    told = [_federated(of_many)] if of_many else []
    return told + ([_of_one_each([file for file in files if file not in of_many])] if len(of_many) < len(files) else [])


def _of_many(page: Page) -> bool:
    """Whether a page names the target of every series, as a Prometheus server does that hands on what it knows."""
    return all({"job", "instance"} <= dict(key).keys() for series in page.samples.values() for key in series)


def _federated(files: Sequence[_File]) -> Told:
    tracks = [
        Track(name, key, [(file.page.time or file.artefact.changed, value)])
        for file in files
        for name, series in file.page.samples.items()
        for key, value in series.items()
    ]
    return told(tracks, ", ".join(f.artefact.origin for f in files), ", ".join(f.artefact.name for f in files))


def _of_one_each(files: Sequence[_File]) -> Told:
    groups: list[list[_File]] = []
    for file in files:
        group = next((g for g in groups if _alike(g[0].page, file.page) >= SAME), None)
        if group is None:
            groups.append([file])
        else:
            group.append(file)
    ordered = [_ordered(group) for group in groups]
    targets = [_target(group) for group in ordered]
    taken = (file.clock or file.artefact.changed for group in ordered for file in group)
    first = min((moment for moment in taken if moment), default=None)
    length = max((target.seconds or 0.0 for target in targets), default=0.0)
    return Told(readings(targets), (), first, length, ", ".join(file.artefact.name for file in files))


def _alike(a: Page, b: Page) -> float:
    """Share of series that both pages have, of the page with fewer; 0 where they name different machines."""
    for name in _IDENTITY:
        if a.series(name) and b.series(name) and not a.series(name).keys() & b.series(name).keys():
            return 0.0
    mine, theirs = ({(name, key) for name in page.samples for key in page.samples[name]} for page in (a, b))
    return len(mine & theirs) / min(len(mine), len(theirs))


def _ordered(files: list[_File]) -> list[_File]:
    if all(file.clock is not None for file in files):
        return sorted(files, key=lambda file: file.clock or 0.0)
    if len({file.started for file in files}) > 1:
        return sorted(files, key=lambda file: file.started)
    if len(files) == 2:
        return files if _grew(files[0].page, files[1].page) >= 0 else files[::-1]
    return sorted(files, key=lambda file: file.artefact.changed)


def _grew(a: Page, b: Page) -> int:
    """How many more counters rose than fell from `a` to `b`."""
    return sum(
        (b.samples[name][key] > value) - (b.samples[name][key] < value)
        for name, series in a.samples.items()
        if name.endswith(_CUMULATIVE)
        for key, value in series.items()
        if key in b.series(name)
    )


def _target(files: Sequence[_File]) -> Target:
    first, last = files[0], files[-1]
    notes = [file.page.note for file in files if file.page.note]
    seconds: float | None = None
    if first.clock is not None and last.clock is not None:
        seconds = last.clock - first.clock
    elif abs(last.artefact.changed - first.artefact.changed) >= LEAST_GAP_S:
        seconds = abs(last.artefact.changed - first.artefact.changed)
        notes.append("the time in between is that of the files")
    origin = ", ".join(file.artefact.origin for file in files)  # as given: names alone may be alike
    return Target(origin, [file.page for file in files], seconds, notes)
