"""Which DataLoader of a script feeds the training, and what its arguments say."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from advisor.readers.script.loops import StepScope
from advisor.readers.script.source import Module, last
from advisor.readers.script.values import Known, Values

# Only these packages hand the keywords of torch's DataLoader on unchanged.
_FROM = ("torch", "torch_geometric", "torchdata", "monai", "DataLoader", "data", "utils")
_POSITION = {"batch_size": 1, "num_workers": 5, "pin_memory": 7}
_DEFAULTS: Mapping[str, Known] = {
    "num_workers": Known(0),
    "batch_size": Known(1),
    "pin_memory": Known(False),
    "persistent_workers": Known(False),
}


class Loader(NamedTuple):
    """A DataLoader call and the name it is kept under ('' when it has none)."""

    module: Module
    call: ast.Call
    name: str


def loaders(modules: Sequence[Module]) -> list[Loader]:
    """Every call that makes a torch DataLoader."""
    return [
        Loader(m, call, _kept_as(m, call))
        for m in modules
        for call in m.calls()
        if (name := m.dotted(call.func)).rpartition(".")[2] == "DataLoader" and name.partition(".")[0] in _FROM
    ]


def training(found: Sequence[Loader], scopes: Sequence[StepScope]) -> list[Loader]:
    """The loader iterated in the training loop (several when branches make it differently); else the only one."""
    if len(found) < 2:
        return list(found)
    drawn = {name for scope in scopes for name in scope.draws_from}
    for hits in ([x for x in found if x.name in drawn], [x for x in found if "train" in x.name.lower()]):
        names = {one.name for one in hits if one.name}
        if len(names) == 1:
            return [one for one in hits if one.name]
    return []


def arguments(chosen: Sequence[Loader], values: Values) -> Iterator[tuple[str, Known, str]]:
    """(keyword, value, file:line) of each setting that is known and on which all calls agree."""
    for keyword in ("num_workers", "batch_size", "pin_memory", "persistent_workers", "prefetch_factor"):
        known = [_argument(one, keyword, values) for one in chosen]
        first = known[0] if known else None
        if first is None or first.value is None or any(k is None or k.value != first.value for k in known):
            continue
        yield keyword, first, chosen[0].module.where(chosen[0].call)


def _argument(loader: Loader, keyword: str, values: Values) -> Known | None:
    call = loader.call
    for given in call.keywords:
        if given.arg == keyword:
            return values.of(loader.module, given.value)
    place = _POSITION.get(keyword)
    if any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
        return None  # *args or **kwargs may hold it
    if place is not None and len(call.args) > place:
        return values.of(loader.module, call.args[place])
    if keyword == "batch_size" and any(k.arg == "batch_sampler" for k in call.keywords):
        return None
    if keyword == "prefetch_factor":
        workers = _argument(loader, "num_workers", values)
        return Known(2) if workers and isinstance(workers.value, int) and workers.value > 0 else None
    return _DEFAULTS[keyword]


def _kept_as(module: Module, call: ast.Call) -> str:
    for child, parent in module.ancestors(call):
        if isinstance(parent, ast.Assign) and child is parent.value:
            return _name_of(parent.targets[0])
        if isinstance(parent, ast.AnnAssign):
            return _name_of(parent.target)
        if isinstance(parent, ast.For):
            return "" if child is not parent.iter else f"for {parent.lineno}"
        if isinstance(parent, ast.stmt):
            function = module.function(parent)
            return function.name if isinstance(parent, ast.Return) and function else ""
    return ""


def _name_of(node: ast.expr) -> str:
    """``loader`` of ``loader``, ``self.loader`` and ``loaders["train"]`` (then the key); '' of anything else."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    return last(node)
