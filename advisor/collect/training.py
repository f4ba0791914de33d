"""The training hook seen from outside: the environment that loads it into the child, and what it wrote.

`read` touches the disk; `parse` and `parse_ranks` are pure over its result. The hook itself is in `hook/` and
runs in the user's process; the arithmetic over its steps is in `training_steps`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advisor.collect.base import Facts
from advisor.collect.stacks import stack_facts
from advisor.collect.training_facts import loader_facts, memory_facts, place, process_facts
from advisor.collect.training_model import batch_facts, model_facts
from advisor.collect.training_parallel import parallel_facts, rank_facts
from advisor.collect.training_phases import inference, phase_facts
from advisor.collect.training_steps import Steps, combine
from advisor.models import Reading, Series, Source, SourceState

KIND = "training hook"
HOOK = Path(__file__).parent / "hook"
_KINDS = {"process": "processes", "worker": "workers", "stacks": "stacks"}  # of output files, by how the name begins
FILES = 5000  # the most output files that are read: a run of thousands of processes is judged by the first ones


def hook_environment(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with what makes every Python below load the hook and write into `folder`."""
    path = os.pathsep.join(part for part in (str(HOOK), environ.get("PYTHONPATH", "")) if part)
    return {**environ, "PYTHONPATH": path, "ADVISOR_HOOK_DIR": str(folder.resolve())}


def read(folder: Path) -> dict[str, Any]:
    """Everything the hook wrote into `folder`, JSON-able; files that are being replaced are skipped.

    Keys: ``loaded`` (did any Python load the hook), ``processes``, ``workers``, ``failures`` (sentences) and
    ``unreadable`` (file names) and ``stacks`` (sampled rows per process). A caller may add
    ``started``, the run's start in seconds since the epoch.
    """
    found: dict[str, Any] = {"loaded": False, "failures": [], "unreadable": []}
    found |= {kind: [] for kind in _KINDS.values()}
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    found["loaded"] = "loaded" in names
    for name in [n for n in names if n.endswith((".json", ".txt"))][:FILES]:
        try:
            text = (folder / name).read_text(encoding="utf-8")
            if name.startswith("failure-"):
                found["failures"].append(text.strip())
            else:
                found[_KINDS[name.partition("-")[0]]].append(json.loads(text))
        except (OSError, ValueError, KeyError):
            found["unreadable"].append(name)
    return found


def parse(capture: Mapping[str, Any]) -> Reading:
    """Facts of the run; of several ranks, those of the lowest."""
    try:
        return _parse(capture)
    except Exception as error:  # whatever a process left behind must not cost the other sources
        note = f"The hook's output was not understood ({type(error).__name__}: {error})."
        return Reading(Source(KIND, "training hook", "unreadable", note))


def parse_ranks(capture: Mapping[str, Any]) -> tuple[tuple[str, Reading], ...]:
    """One reading per rank, in order, when more than one rank trained on this host; else empty."""
    try:
        ranks = _by_rank(capture)
        if len(ranks) < 2:
            return ()
        return tuple((f"rank {rank}", _reading(capture, process, rank)) for rank, process in sorted(ranks.items()))
    except Exception:  # `parse` says why
        return ()


def _parse(capture: Mapping[str, Any]) -> Reading:
    ranks = _by_rank(capture)
    if ranks:
        lowest = min(ranks)
        process = ranks[lowest]
    else:
        lowest, candidates = None, [p for p in capture["processes"] if p["ends"] or p["loaders"]]
        if not candidates:
            return Reading(Source(KIND, "training hook", *_nothing(capture)))
        process = max(candidates, key=_activity)
    return _reading(capture, process, lowest)


def _nothing(capture: Mapping[str, Any]) -> tuple[SourceState, str]:
    if capture["failures"]:
        return "unreadable", _failed(capture["failures"])
    if capture["unreadable"]:
        return "unreadable", f"The hook's output {capture['unreadable'][0]} is damaged."
    if capture["processes"]:
        return "absent", "torch was imported, but no DataLoader was iterated and no optimizer made a step."
    if capture["loaded"]:
        return "absent", "The program did not use a PyTorch DataLoader or optimizer, so there are no steps to measure."
    return "absent", (
        "No Python in this run loaded the hook: the command is not a Python program, clears its environment, "
        "or runs Python with -I, -E or -S; run it without those to have its steps measured."
    )


def _failed(failures: Sequence[str]) -> str:
    more = f" (and {len(failures) - 1} more processes)" if len(failures) > 1 else ""
    return f"The hook gave up and the program went on without it: {failures[0]}{more}."


def _by_rank(capture: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The training processes that are ranks; of two with the same rank (a restart) the one that did more."""
    found: dict[int, dict[str, Any]] = {}
    for process in capture["processes"]:
        rank = _rank(process)
        if rank is not None and process["ends"] and (rank not in found or _activity(process) > _activity(found[rank])):
            found[rank] = process
    return found


def _rank(process: Mapping[str, Any]) -> int | None:
    distributed = (process["process"] or {}).get("distributed") or {}
    if int(distributed.get("world_size") or 1) < 2 or distributed.get("rank") is None:
        return None
    return int(distributed["rank"])


def _activity(process: Mapping[str, Any]) -> tuple[int, float]:
    return int(process["ends"]), sum(loader["batches"] for loader in process["loaders"])


def _reading(capture: Mapping[str, Any], process: Mapping[str, Any], rank: int | None) -> Reading:
    facts = Facts(KIND)
    steps = combine(process)
    loader = _loader(process, steps)
    phase = _phase(process)
    facts.add("run.phase", phase, "{string}")
    facts.add("run.framework", "pytorch", "{string}")
    facts.add("run.rank", rank, "{rank}")
    ranks = _by_rank(capture)
    process_facts(facts, process, len(ranks))
    memory_facts(facts, process["memory"])
    workers = [w for w in capture["workers"] if w["ppid"] == process["pid"]]
    if loader is not None:
        loader_facts(facts, loader, workers, process["cwd"])
    steps.facts(facts, process, None if loader is None else _where(loader, process["cwd"]))
    model_facts(facts, process)
    parallel_facts(facts, process, steps, len(ranks))
    if rank is not None and rank == min(ranks):
        rank_facts(facts, list(ranks.values()))
    if loader is not None:
        batch_facts(facts, process, steps, process["loaders"].index(loader), place(loader["where"], process["cwd"]))
    phase_facts(facts, process, workers, steps)
    sampled = capture.get("stacks", ())
    # What a program does before its first step says nothing about the steps; a loop without any is inference.
    mine = (s for s in sampled if s["pid"] == process["pid"] and s["role"] == "main")
    own = next((s for s in mine if s["stepping"] or phase == "inference"), None)
    stack_facts(facts, own, [s for s in sampled if s["ppid"] == process["pid"] and s["role"] == "worker"])
    shift = process["started"] - capture.get("started", process["started"])
    series = {name: Series(tuple(round(t + shift, 3) for t in s.t), s.v) for name, s in steps.series().items()}
    return Reading(Source(KIND, _origin(process), "ok", _note(capture, process, steps)), facts.all(), series)


def _loader(process: Mapping[str, Any], steps: Steps) -> dict[str, Any] | None:
    """The loader that feeds the training: of those used in its steps, the one waited for longest."""
    loaders = [process["loaders"][i] for i in steps.loaders] or ([] if steps.count else process["loaders"])
    return max(loaders, key=lambda loader: loader["wall"], default=None)


def _where(loader: Mapping[str, Any], cwd: str) -> str | None:
    return place(loader["loop"] or loader["where"], cwd)


def _phase(process: Mapping[str, Any]) -> str | None:
    if process["ends"]:
        return "training"
    return "inference" if inference(process) else None


def _origin(process: Mapping[str, Any]) -> str:
    name = os.path.basename((process["command"] or [""])[0])
    return f"process {process['pid']}" + (f" ({name})" if name and name != "-c" else "")


def _note(capture: Mapping[str, Any], process: Mapping[str, Any], steps: Steps) -> str:
    notes = []
    if capture["failures"]:
        notes.append(_failed(capture["failures"]))
    if process["ends"] and not steps.count:
        notes.append(f"Only {process['ends']} steps: too few to measure, the first ones are warm-up.")
    elif steps.count and not steps.loaders:
        notes.append("No DataLoader was iterated in the training thread, so the wait for data is not known.")
    if steps.excluded:
        notes.append(f"{steps.excluded} steps with another loader in them (evaluation) are left out.")
    notes += [f"Not observed: {lost}." for lost in (process.get("extras") or {}).get("lost", ())]
    trained = [p for p in capture["processes"] if p["ends"]]
    if len(trained) > 1:
        ranks = len(_by_rank(capture))
        notes.append(f"{len(trained)} processes trained{f', {ranks} of them ranks' if ranks else ''}; this is one.")
    return " ".join(notes)
