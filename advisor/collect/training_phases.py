"""Facts about what a training process does beside its steps: saving, evaluating, collecting garbage, waiting for GPUs.

Pure: the arguments are parts of the capture that `training.read` returns. Shares of the job are over the time since
the process started; step times are in `training_steps`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from advisor.collect.base import Facts, ratio
from advisor.collect.training_facts import place
from advisor.collect.training_steps import Steps

FEW = 5  # batches below which a loop says nothing about the program
SETTLED_S = 1.0  # seconds of training before a share of them is a number


def phase_facts(facts: Facts, process: Mapping[str, Any], workers: Sequence[Mapping[str, Any]], steps: Steps) -> None:
    """Add the facts; `workers` are this process's."""
    if process["ends"]:
        _saves(facts, process)
        _pauses(facts, process)
        _epochs(facts, process, steps)
        _syncs(facts, process, steps)
        _operations(facts, process)
    _evaluation(facts, process, steps)
    tokenizes = next((w["tokenizes"] for w in [process, *workers] if w.get("tokenizes")), None)
    if tokenizes:  # not seen is not known: other tokenizers than those of transformers cannot be watched
        facts.add("config.tokenize_on_the_fly", True, "{bool}", place(tokenizes, process["cwd"]))


def inference(process: Mapping[str, Any]) -> bool:
    """Whether a process without optimizer steps runs a model over batches: without gradients, or never using them."""
    loaders = process["loaders"]
    batches = sum(loader["batches"] for loader in loaders)
    without = 2 * sum(loader["no_grad"] for loader in loaders) > batches
    unused = not process.get("backwards") and any(_records(x) and _evaluates(x) for x in loaders)
    return bool(batches >= FEW) and (without or unused)


def _records(loader: Mapping[str, Any]) -> bool:
    """Whether autograd recorded operations after most of the loader's batches, and no backward pass used them."""
    return bool(loader.get("probed", 0) >= FEW and 2 * loader["recorded"] > loader["probed"])


def _saves(facts: Facts, process: Mapping[str, Any]) -> None:
    saves = process.get("saves")
    if saves is None:
        return
    most = max(saves["places"], key=saves["places"].get, default=None)
    where = place(most, process["cwd"])
    facts.add("ml.checkpoint.count", saves["count"], "{checkpoint}", where)
    facts.share("ml.checkpoint.blocking.fraction", ratio(saves["seconds"], process["seconds"]), where)
    facts.add("ml.checkpoint.time", ratio(saves["seconds"], saves["count"]), "s", where)


def _pauses(facts: Facts, process: Mapping[str, Any]) -> None:
    pauses = process.get("pauses")
    trained = process["seconds"] - process["first_end"]
    if pauses is not None and trained > SETTLED_S:
        facts.share("process.gc.pause.fraction", (pauses["seconds"] - pauses["before"]) / trained)


def _epochs(facts: Facts, process: Mapping[str, Any], steps: Steps) -> None:
    """The waits at epoch starts: most are in counted steps, those after an evaluation are not and count as well."""
    loaders = [process["loaders"][i] for i in steps.loaders]
    if not steps.total or max((loader.get("epochs", 0) for loader in loaders), default=0) < 2:
        return
    waited = sum(loader["epoch_start"] for loader in loaders)
    outside = max(0.0, waited - steps.sums["epoch"])
    longest = max(loaders, key=lambda loader: loader["epoch_start"])
    where = place(longest["loop"] or longest["where"], process["cwd"])
    facts.share("ml.step.data_wait.epoch_start.fraction", waited / (steps.total + outside), where)


def _syncs(facts: Facts, process: Mapping[str, Any], steps: Steps) -> None:
    """From the steps in which tensors were watched; there are none without a GPU."""
    sums = steps.sums
    if not sums["sampled"] or not sums["sampled_time"]:
        return
    most = max(process["syncs"], key=lambda line: process["syncs"][line][1], default=None)
    where = place(most, process["cwd"])
    facts.add("ml.step.sync.count", sums["syncs"] / sums["sampled"], "{call}/step", where)
    facts.share("ml.step.sync.fraction", sums["sync"] / sums["sampled_time"], where)
    facts.add("ml.step.copy.count", sums["copies"] / sums["sampled"], "{call}/step")
    facts.share("ml.step.copy.fraction", sums["copy"] / sums["sampled_time"])


def _operations(facts: Facts, process: Mapping[str, Any]) -> None:
    """Operations that autograd records in a step, from its running number at two step ends."""
    nodes = process.get("nodes", ())
    if len(nodes) == 2 and nodes[1][0] - nodes[0][0] >= FEW:
        (first, before), (last, after) = nodes
        facts.add("ml.step.operations", max(0, after - before) / (last - first), "{operation}/step")


def _evaluation(facts: Facts, process: Mapping[str, Any], steps: Steps) -> None:
    """Loops over other loaders than the training's, with gradients off or the model in evaluation mode."""
    loaders = process["loaders"]
    if process["ends"]:
        loaders = [x for i, x in enumerate(loaders) if i not in steps.loaders and _evaluates(x)]
        if not steps.loaders:
            return
        longest = max(loaders, key=lambda loader: loader["held"], default=None)
        where = None if longest is None else place(longest["loop"], process["cwd"])
        facts.share("ml.evaluation.fraction", ratio(sum(x["held"] for x in loaders), process["seconds"]), where)
        facts.add("ml.evaluation.count", max((x["epochs"] for x in loaders), default=0), "{evaluation}", where)
    elif not inference(process):
        return
    probed = [loader for loader in loaders if loader.get("probed", 0) >= FEW]
    if probed:
        recording = next((loader for loader in probed if _records(loader)), None)
        where = None if recording is None else place(recording["loop"], process["cwd"])
        facts.add("config.grad_enabled_in_inference", recording is not None, "{bool}", where)


def _evaluates(loader: Mapping[str, Any]) -> bool:
    return bool(2 * max(loader["no_grad"], loader.get("evaluating", 0)) > loader["batches"])
