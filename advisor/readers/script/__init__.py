"""A training script, read before it runs and never executed -> what it sets, and patterns that are known to be slow.

Everything here is the lowest kind of evidence: what was measured wins wherever both speak (`profile.PRECEDENCE`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from advisor.errors import InputError
from advisor.models import Fact, Reading, Source
from advisor.readers.script.files import Started, load, locate
from advisor.readers.script.habits import evaluates_with_gradients, tokenizes
from advisor.readers.script.loader import arguments, loaders, training
from advisor.readers.script.loops import StepScope, step_scopes
from advisor.readers.script.patterns import per_step
from advisor.readers.script.settings import Setting, gpu, settings
from advisor.readers.script.source import Module
from advisor.readers.script.values import Values

__all__ = ["KIND", "read_command", "read_script"]

KIND = "script"
_UNITS = {"num_workers": "{worker}", "batch_size": "{sample}", "prefetch_factor": "{batch}"}
_SHOWN_NAMES = 4


def read_script(path: Path, folder: Path) -> Reading:
    """What a script says, with the files that it imports from beside it; places are relative to `folder`.

    Raises:
        InputError: when it cannot be read or is not Python.
    """
    return _reading(Started(path, path.parent, ()), folder)


def read_command(command: Sequence[str], folder: Path) -> Reading | None:
    """What the script that `command` starts in `folder` says; None when it starts no script that can be found."""
    try:
        started = locate(command, folder)
        return _reading(started, folder) if started else None
    except Exception as error:  # the run is watched all the same, whatever its code looks like
        what = str(error) if isinstance(error, InputError) else f"The script was not understood ({error!r})"
        return Reading(Source(KIND, "script", "unreadable", f"{what}."))


def _reading(started: Started, folder: Path) -> Reading:
    modules, left_out = load(started, folder)
    try:
        found, note = _facts(modules, started.arguments)
    except RecursionError:
        raise InputError(f"{modules[0].shown} is nested too deeply to be read; nothing was taken from it") from None
    origin = modules[0].path.name
    facts = tuple(Fact(s.name, s.value, s.unit, origin, s.where or None) for s in found)
    files = f"{len(modules)} files" if len(modules) > 1 else "1 file"
    notes = f"Read, not run ({files}): what was measured counts for more.", note, left_out
    return Reading(Source(KIND, origin, "ok", " ".join(n for n in notes if n)), facts)


def _facts(modules: Sequence[Module], words: Sequence[str]) -> tuple[list[Setting], str]:
    values, scopes = Values(modules, words), step_scopes(modules)
    made = loaders(modules)
    chosen = training(made, scopes)
    found = [
        Setting(f"config.dataloader.{key}", known.value, _UNITS.get(key, "{bool}"), where, known.via)
        for key, known, where in arguments(chosen, values)
        if known.value is not None
    ]
    found += settings(modules, values)
    found += gpu(modules)
    pinned = any(s.name == "config.dataloader.pin_memory" and s.value is True for s in found)
    found += _code(modules, scopes, pinned)
    unique = _agreed(found)
    notes = [] if chosen or not made else [f"Which of the {len(made)} DataLoaders trains could not be told."]
    through = list(dict.fromkeys(s.via for s in unique if s.via))
    if through:
        notes.append(f"Values read through {', '.join(through[:_SHOWN_NAMES])}.")
    return unique, " ".join(notes)


def _code(modules: Sequence[Module], scopes: Sequence[StepScope], pinned: bool) -> Iterator[Setting]:
    if scopes:
        first = scopes[0].module.where(scopes[0].body)
        yield Setting("run.phase", "training", "{string}", first)
        yield Setting("run.framework", "pytorch", "{string}", first)
        for name, places in per_step(scopes, pinned).items():
            yield Setting(name, float(len(places)), "{place}", places[0] if places else "")
    if where := tokenizes(modules, scopes):
        yield Setting("config.tokenize_on_the_fly", True, "{bool}", where)
    if where := evaluates_with_gradients(modules):
        yield Setting("config.grad_enabled_in_inference", True, "{bool}", where)


def _agreed(found: Sequence[Setting]) -> list[Setting]:
    """One setting per fact; a fact that is set to two values in two places is not known."""
    by: dict[str, list[Setting]] = {}
    for setting in found:
        by.setdefault(setting.name, []).append(setting)
    return [s[0] for s in by.values() if all(type(x.value) is type(s[0].value) and x.value == s[0].value for x in s)]
