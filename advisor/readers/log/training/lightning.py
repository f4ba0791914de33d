"""What Lightning prints besides its bars: the reports of its profilers and its warnings.

The simple profiler prints a table of actions with mean, calls and total; the advanced one a cProfile report per
action. Names differ by version: ``get_train_batch`` became ``[_TrainingEpochLoop].train_dataloader_next``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from advisor.readers.log.log import Log
from advisor.readers.log.training.part import NUMBER, Part, Said, number
from advisor.readers.rows import Row, row, share
from advisor.readers.steps import waiting

_ROW = re.compile(
    rf"^[^|\n]{{0,60}}?\|?[ \t]{{0,4}}(?P<action>[\[A-Za-z_][^|\n]{{0,700}})\|[ \t]{{0,12}}"
    rf"(?P<mean>{NUMBER})[ \t]{{0,30}}\|(?:[ \t]{{0,12}}(?P<calls>\d{{1,15}})[ \t]{{0,30}}\|)?[ \t]{{0,12}}"
    rf"(?P<total>{NUMBER})",
    re.MULTILINE,
)
_CPROFILE = re.compile(
    r"Profile stats for: ([^\n]{1,300}?)(?: rank: \d+)?[ \t]*\n[^\n]{0,4}\s{0,10}(\d{1,15}) function calls"
    r"[^\n]{0,60} in (\d{1,12}\.\d{1,9}) seconds"
)
_CALLS = re.compile(r"^\s{0,12}(\d{1,12})(?:/\d+)?\s", re.MULTILINE)
_FEW_WORKERS = re.compile(r"'?train_dataloader'?,? does not have many workers")
_PARAMETERS = re.compile(r"^[^\n]{0,40}?\b([\d,]{4,20})\s{1,8}Trainable params", re.MULTILINE)
_NEXT = ("train_dataloader_next", "get_train_batch", "fetch_next_train", "tbptt_split_batch")
_BATCH = ("run_training_batch", "training_step_and_backward")


@dataclass(frozen=True, slots=True)
class _Action:
    at: int
    calls: float
    total: float


def read(log: Log) -> Part | None:
    """What Lightning says about a run; None when it says nothing that is used."""
    part = Part("Lightning", coarse=False)
    actions = dict(_actions(log.text))
    part.rows = list(_rows(actions, log))
    for match in _PARAMETERS.finditer(log.text) if "Trainable params" in log.text else ():
        value = float(match[1].replace(",", ""))
        part.said.append(Said(match.start(), "config.model.parameters", value, "{parameter}"))
    if _FEW_WORKERS.search(log.text):
        part.notes.append("Lightning warns that the loader of the training has few workers")
    if part.rows:
        part.at = min(a.at for a in actions.values())
        part.notes.append("the profiler's times are of the whole run, its first steps included")
    if part.rows or part.notes:
        part.said.append(Said(0, "run.framework", "pytorch", "{string}"))
    return None if part.empty else part


def _actions(text: str) -> Iterator[tuple[str, _Action]]:
    """Actions of the last report by name, without the class that they belong to."""
    start = max(text.rfind("Profiler Report"), text.rfind("Profile Summary"), 0)
    if "Profiler Report" in text:
        for match in _ROW.finditer(text, start, start + (1 << 20)):
            total, mean = number(match["total"]), number(match["mean"])
            calls = float(match["calls"]) if match["calls"] else (round(total / mean) if mean > 0 else 0.0)
            yield _short(match["action"]), _Action(match.start(), calls, total)
    for match in _CPROFILE.finditer(text):
        first = _CALLS.search(text, match.end(), match.end() + 2000)
        yield _short(match[1]), _Action(match.start(), float(first[1]) if first else 0.0, float(match[3]))


def _short(action: str) -> str:
    return action.strip().rsplit("]", 1)[-1].rsplit(".", 1)[-1].strip(" :\t")


def _rows(actions: dict[str, _Action], log: Log) -> Iterator[Row]:
    fetch = next((actions[n] for n in _NEXT if n in actions), None)
    batch = next((actions[n] for n in _BATCH if n in actions), None)
    epoch = actions.get("run_training_epoch")
    if batch is None and "model_forward" in actions:
        told = [actions[n] for n in ("model_forward", "model_backward", "optimizer_step") if n in actions]
        batch = _Action(told[0].at, told[0].calls, sum(a.total for a in told))
    if batch is None or batch.calls < 1:
        return
    where = log.where(batch.at)
    waited = fetch.total if fetch else 0.0
    whole = max(waited + batch.total, epoch.total if epoch else 0.0)
    if whole <= 0:
        return
    yield row("ml.step.time", whole / batch.calls, "s", where)
    yield row("ml.step.count", batch.calls, "{step}", where)
    if fetch is not None:
        yield from waiting(waited / whole, log.where(fetch.at))
        yield row("ml.step.data_wait.time", waited / batch.calls, "s", log.where(fetch.at))
        yield row("ml.step.compute.time", (whole - waited) / batch.calls, "s", where)
    evaluated = actions.get("run_evaluation") or actions.get("evaluation_step_and_end")
    if evaluated is not None and epoch is not None and epoch.total > 0:
        yield share("ml.evaluation.fraction", evaluated.total / (epoch.total + evaluated.total), where)
