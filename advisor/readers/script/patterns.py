"""Slow patterns of the training step: places whose code costs time or memory in every step, as ``file:line``."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from advisor.readers.script.loops import StepScope, detached

_READS = ("item", "tolist", "cpu")
_NOT_TENSORS = ("np", "numpy", "math", "pd", "pandas", "time", "random", "os", "json", "Counter")
_SAVE_METHODS = ("save_pretrained", "save_checkpoint", "save_state", "save_model")
_NAMED = {
    "torch.cuda.synchronize": "synchronize",
    "torch.cuda.empty_cache": "cache_flush",
    "torch.mps.empty_cache": "cache_flush",
    "gc.collect": "gc_collect",
    "torch.save": "save",
    "torch.distributed.checkpoint.save": "save",
    "torch.distributed.checkpoint.async_save": "save",
}
_JOINS = ("torch.cat", "torch.concat", "torch.vstack", "torch.hstack")

PATTERNS = (
    "host_read", "synchronize", "cache_flush", "gc_collect", "graph_kept", "save", "tensor_growth", "element_loop",
    "blocking_copy",
)  # fmt: skip

Places = dict[str, list[str]]


def per_step(scopes: Sequence[StepScope], pinned: bool) -> Places:
    """``code.*`` fact -> the places of its pattern, in the code that runs in every step.

    `pinned` says that the training loader pins its batches: only then a copy could be asynchronous.
    """
    found: Places = {f"code.{name}.count": [] for name in PATTERNS}
    if not pinned:
        del found["code.blocking_copy.count"]
    for scope in scopes:
        batch = _batch_names(scope)
        for node in scope.nodes():
            fact = f"code.{_kind(scope, node, batch)}.count"
            if fact in found and isinstance(node, ast.expr | ast.stmt):
                found[fact].append(scope.module.where(node))
    return {name: list(dict.fromkeys(places)) for name, places in found.items()}


def _kind(scope: StepScope, node: ast.AST, batch: set[str]) -> str | None:
    """The pattern that a node is an instance of."""
    if isinstance(node, ast.Call):
        return _call_kind(scope, node, batch)
    if isinstance(node, ast.FormattedValue) and _is_loss(scope, node.value):
        return "host_read"
    if isinstance(node, ast.AugAssign | ast.Assign):
        if _adds_loss(scope, node):
            return "graph_kept"
        return "tensor_growth" if _grows_tensor(scope, node) else None
    return "element_loop" if isinstance(node, ast.For) and _element_loop(node) else None


def _call_kind(scope: StepScope, call: ast.Call, batch: set[str]) -> str | None:
    name = scope.module.dotted(call.func)
    if name in _NAMED:
        return _NAMED[name]
    if isinstance(call.func, ast.Attribute) and call.func.attr in _SAVE_METHODS:
        return "save"
    if _reads_device(scope, call):
        return "host_read"
    if _blocking_copy(call, batch):
        return "blocking_copy"
    return "graph_kept" if _appends_loss(scope, call) else None


def _is_loss(scope: StepScope, node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in scope.losses


def _reads_device(scope: StepScope, call: ast.Call) -> bool:
    """``x.item()``, ``x.cpu()``, ``x.tolist()``, and ``float(loss)`` or ``print(loss)``; of a chain only the last."""
    if isinstance(call.func, ast.Name):
        return call.func.id in ("float", "print", "int") and any(_is_loss(scope, a) for a in call.args)
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in _READS or call.args:
        return False
    parent = scope.module.parents.get(call)
    if isinstance(parent, ast.Attribute) and parent.attr in _READS:
        return False
    return _root(call.func.value) not in _NOT_TENSORS


def _blocking_copy(call: ast.Call, batch: set[str]) -> bool:
    if not isinstance(call.func, ast.Attribute) or _root(call.func.value) not in batch:
        return False
    moves = call.func.attr == "cuda" or (call.func.attr == "to" and _names_device(call))
    given = {k.arg: k.value for k in call.keywords}
    flag = given.get("non_blocking")
    return moves and None not in given and (flag is None or (isinstance(flag, ast.Constant) and not flag.value))


def _names_device(call: ast.Call) -> bool:
    first = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "device"), None)
    if isinstance(first, ast.Constant):
        return str(first.value).startswith("cuda")
    return first is not None and any(w in ast.unparse(first).lower() for w in ("device", "rank", "gpu", "cuda"))


def _batch_names(scope: StepScope) -> set[str]:
    """The names that hold a batch or a part of it, also inside comprehensions over it."""
    names: set[str] = set()
    if isinstance(scope.body, ast.For | ast.AsyncFor):
        names = {n.id for n in ast.walk(scope.body.target) if isinstance(n, ast.Name)}
    for node in ast.walk(scope.body):
        if isinstance(node, ast.comprehension) and _root(node.iter) in names:
            names |= {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
    return names


def _appends_loss(scope: StepScope, call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "append" or len(call.args) != 1:
        return False
    kept = call.func.value
    return _stays(scope, kept) and _holds_loss(scope, call.args[0]) and not scope.module.without_grad(call)


def _adds_loss(scope: StepScope, node: ast.AugAssign | ast.Assign) -> bool:
    """``total += loss`` or ``total = total + loss`` where `total` outlives the step and is not backwarded itself."""
    target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
    if isinstance(node, ast.Assign):
        value = node.value
        if not (isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add)):
            return False
        if ast.unparse(target) not in (ast.unparse(value.left), ast.unparse(value.right)):
            return False
    elif not isinstance(node.op, ast.Add):
        return False
    if _is_loss(scope, target) or (isinstance(target, ast.Attribute) and target.attr in scope.losses):
        return False
    return _stays(scope, target) and _holds_loss(scope, node.value) and not scope.module.without_grad(node)


def _stays(scope: StepScope, target: ast.expr) -> bool:
    """Whether what is added to `target` is still held in the next step."""
    root = _root(target)
    if isinstance(target, ast.Attribute) and root == "self":
        return True
    if isinstance(target, ast.Name | ast.Subscript | ast.Attribute):
        return bool(root) and root != "self" and scope.outlives(root)
    return False


def _holds_loss(scope: StepScope, value: ast.expr) -> bool:
    """Whether the value carries the graph of a loss."""
    if any(isinstance(n, ast.Call) and not isinstance(n.func, ast.Attribute) for n in ast.walk(value)):
        return False  # what a function makes of it is not known
    return any(isinstance(n, ast.expr) and _is_loss(scope, n) for n in ast.walk(value)) and not detached(value)


def _grows_tensor(scope: StepScope, node: ast.AugAssign | ast.Assign) -> bool:
    """``x = torch.cat([x, y])`` in every step: all of it is copied each time."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call) or not node.value.args:
        return False
    if scope.module.dotted(node.value.func) not in _JOINS or not isinstance(node.targets[0], ast.Name):
        return False
    name, parts = node.targets[0].id, node.value.args[0]
    inside = [e.id for e in getattr(parts, "elts", []) if isinstance(e, ast.Name)]
    return name in inside and scope.outlives(name)


def _element_loop(loop: ast.For) -> bool:
    """Two nested loops over the size of a tensor that index it with both counters."""
    if not (_over_size(loop.iter) and isinstance(loop.target, ast.Name)):
        return False
    for inner in (n for s in loop.body for n in ast.walk(s) if isinstance(n, ast.For)):
        if not isinstance(inner.target, ast.Name) or not _over_size(inner.iter):
            continue
        for node in ast.walk(inner):
            if isinstance(node, ast.Subscript):
                names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                if {loop.target.id, inner.target.id} <= names:
                    return True
    return False


def _over_size(node: ast.expr) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"):
        return False
    return any(isinstance(n, ast.Attribute) and n.attr in ("size", "shape") for n in ast.walk(node))


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
