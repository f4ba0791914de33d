"""Files, folders and archives of any mix of kinds -> what they say, kind by kind.

One that cannot be used does not stop the others: it becomes a source that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from advisor.errors import InputError
from advisor.models import Reading, Source
from advisor.readers.artefact import Artefact, Tick, no_tick
from advisor.readers.intake import Intake, Tree, total
from advisor.readers.recognise import DOCUMENT, SCRIPT, Kind, recognise, recognise_tree
from advisor.readers.told import Told, together

if TYPE_CHECKING:
    from collections.abc import Iterator

UNKNOWN = "file"
SHOWN = 5


class Found:
    """Everything that was named: documents and scripts for themselves, the rest as what their readers say.

    Attributes:
        documents: profiles and diagnoses, each to be judged for itself.
        scripts: paths of Python scripts.
        told: what each kind of artefact says; several of one kind are several runs.
        wrong: sources that could not be used.
    """

    def __init__(self) -> None:
        self.documents: list[Artefact] = []
        self.scripts: list[Path] = []
        self.told: list[list[Told]] = []
        self.wrong: list[Reading] = []
        self.problems: list[InputError] = []

    @property
    def runs(self) -> list[Told]:
        """What belongs together, joined: one run, unless artefacts of one kind are of several.

        Raises:
            InputError: when there are artefacts of known kinds, and none says anything.
        """
        apart = [t for kind in self.told if len(kind) > 1 for t in kind]
        joined = [kind[0] for kind in self.told if len(kind) == 1]
        runs = [*apart, together(joined)] if joined else apart
        full = [t for t in runs if _facts(t)]
        if runs and not full:
            first = next(r for t in runs for r in (*t.readings, *(r for _, r in t.ranks)))
            raise InputError(f"{first.source.origin}: {first.source.note.rstrip('.') or 'nothing in it is known'}")
        return full

    def lose(self, kind: str, origin: str, error: InputError) -> None:
        """Note that one artefact cannot be used."""
        self.problems.append(error)
        self.wrong.append(Reading(Source(kind, origin, "unreadable", f"{error}.")))


@contextmanager
def opened(paths: Sequence[Path], progress: Callable[[int, int], None] | None = None) -> Iterator[Found]:
    """What the files at `paths` say, as long as the context is open.

    Args:
        paths: files, folders and archives.
        progress: is told how many bytes have been read, of how many.

    Raises:
        InputError: when none of them can be used.
    """
    with Intake() as intake:
        found = Found()
        items: list[Artefact | Tree] = []
        for path in paths:
            try:
                items.append(intake.take(path))
            except InputError as error:
                found.lose(UNKNOWN, str(path), error)
        _read(items, found, _ticker(total(items), progress))
        if not (found.documents or found.scripts or found.told) and found.problems:
            raise found.problems[0]
        yield found


def _read(items: Sequence[Artefact | Tree], found: Found, tick: Tick) -> None:
    groups: dict[str, tuple[Kind, list[Artefact]]] = {}
    for item in items:
        if isinstance(item, Tree):
            _read_tree(item, found, groups, tick)
        else:
            _sort(item, found, groups)
    for kind, artefacts in groups.values():
        _read_kind(kind, artefacts, found, tick)


def _sort(artefact: Artefact, found: Found, groups: dict[str, tuple[Kind, list[Artefact]]]) -> bool:
    """Put an artefact where it belongs; False when it is of no known kind."""
    try:
        kind = recognise(artefact)
    except InputError as error:
        found.lose(UNKNOWN, artefact.origin, error)
        return True
    if kind is None:
        what = "is empty" if not artefact.head else "is binary data of a kind that is not known"
        known = "give a trace, a log, saved metrics or a profile"
        found.lose(UNKNOWN, artefact.origin, InputError(f"{artefact.origin} {what}; {known}"))
        return False
    if kind.name == SCRIPT and artefact.path is not None:
        found.scripts.append(artefact.path)
    elif kind.name == DOCUMENT:
        found.documents.append(artefact)
    else:
        groups.setdefault(kind.name, (kind, []))[1].append(artefact)
    return True


def _read_kind(kind: Kind, artefacts: Sequence[Artefact], found: Found, tick: Tick) -> None:
    """All of a kind together; when that fails, one by one, so that only the bad ones are lost."""
    try:
        found.told.append(kind.read(artefacts, tick))
    except InputError as error:
        if len(artefacts) == 1:
            found.lose(kind.name, artefacts[0].origin, error)
            return
        for artefact in artefacts:
            _read_kind(kind, [artefact], found, no_tick)


def _read_tree(tree: Tree, found: Found, groups: dict[str, tuple[Kind, list[Artefact]]], tick: Tick) -> None:
    """A tree whose files belong together, or else each of its files for itself."""
    known = recognise_tree(tree)
    if known is not None:
        kind, part = known
        try:
            found.told.append(kind.read_tree(part, tick))
        except InputError as error:
            found.lose(kind.name, tree.origin, error)
        return
    inner = Found()
    for artefact in tree.files.values():
        _sort(artefact, inner, groups)
    found.documents += inner.documents
    found.wrong += inner.wrong[:SHOWN]
    found.problems += inner.problems[:1]


def _facts(told: Told) -> bool:
    return any(r.facts for r in (*told.readings, *(r for _, r in told.ranks)))


def _ticker(size: int, progress: Callable[[int, int], None] | None) -> Tick:
    if progress is None or not size:
        return no_tick
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        done += more
        progress(min(done, size), size)

    return tick
