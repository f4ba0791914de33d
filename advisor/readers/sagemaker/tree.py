"""A folder of SageMaker Debugger -> readings: its system metrics, its timelines, and how much else lies there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from advisor.errors import InputError
from advisor.models import Reading, Source
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.intake import Tree
from advisor.readers.sagemaker import looks_like_system, looks_like_timeline, system, timeline
from advisor.readers.told import Told, together


def read_tree(tree: Tree, tick: Tick) -> list[Told]:
    """What the files of a profile say together.

    Raises:
        InputError: when none of them can be read.
    """
    samples = [a for a in tree.files.values() if looks_like_system(_head(a))]
    events = [a for a in tree.files.values() if a not in samples and looks_like_timeline(_head(a))]
    parts: list[Told] = []
    for read, files in ((system.read, samples), (timeline.read, events)):
        parts += _told(read, files, tick)
    rest = {name: a for name, a in tree.files.items() if a not in samples and a not in events}
    others = _others(rest, parts, tick)
    if not parts and not others:
        raise InputError(
            f"{tree.origin} is a profile of SageMaker without samples and events; give one of a longer run"
        )
    return [together([*parts, *([Told(tuple(others))] if others else [])])]


def _head(artefact: Artefact) -> str:
    try:
        return artefact.text_head
    except InputError:
        return ""


def _told(read: Callable[[Sequence[Artefact], Tick], list[Told]], files: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What files of one kind say; one that is damaged becomes a source that says so."""
    if not files:
        return []
    try:
        return read(files, tick)
    except InputError as error:
        return [Told((Reading(Source("file", files[0].origin, "unreadable", f"{error}.")),))]


def _others(files: Mapping[str, Artefact], parts: list[Told], tick: Tick) -> list[Reading]:
    """Files of kinds that have a reader are added to `parts`; of other traces is told how many events they hold.

    Python's profiles are not read: they are written with `marshal`, which is not safe to load.
    """
    from advisor.readers.recognise import DOCUMENT, SCRIPT, TEXT, recognise

    found = []
    for name, artefact in files.items():
        try:
            if name.endswith((".trace.json", ".trace.json.gz")):
                count = timeline.count_complete(artefact, tick)
                note = f"a trace of TensorFlow's profiler: {count:,} events; the timelines beside it tell the steps"
                found.append(Reading(Source("trace", artefact.origin, "ok", note)))
                continue
            kind = recognise(artefact)
            if kind is not None and kind.name not in (DOCUMENT, SCRIPT, TEXT):
                parts += kind.read([artefact], tick)
        except InputError as error:
            found.append(Reading(Source("file", artefact.origin, "unreadable", f"{error}.")))
    return sorted(found, key=lambda reading: reading.source.state != "ok")
