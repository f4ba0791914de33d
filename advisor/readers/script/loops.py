"""Where a script trains: the loops and functions whose body runs once per step."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from advisor.readers.script.source import FUNCTIONS, Function, Module, last

_LOOPS = (ast.For, ast.While, ast.AsyncFor)
Loop = ast.For | ast.While | ast.AsyncFor
Body = Loop | Function
_BACKWARD = ("backward", "manual_backward")
_STEP_METHODS = ("training_step",)


@dataclass(frozen=True)
class StepScope:
    """Code that runs once per training step: the body of a loop or function."""

    module: Module
    body: Body
    losses: frozenset[str]
    draws_from: frozenset[str]

    def nodes(self) -> Iterator[ast.AST]:
        """What runs in every step: not under a condition, in a nested function, or after a periodic ``continue``."""
        for statement in self.body.body:
            for node in self.module.walk(statement):
                if self._every_step(node):
                    yield node

    def outlives(self, name: str) -> bool:
        """Whether a name is set outside the step only, so that what is added to it stays."""
        for node in self.module.walk(self.body):
            if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
                parent = self.module.parents.get(node)
                grows = isinstance(parent, ast.AugAssign) or (
                    isinstance(parent, ast.Assign) and any(_named(n, name) for n in ast.walk(parent.value))
                )
                if not grows:
                    return False
        return not isinstance(self.body, FUNCTIONS)  # a local name ends with the step

    def _every_step(self, node: ast.AST) -> bool:
        if not self.module.unconditional(node, self.body):
            return False
        return not any(_skipped(parent, child) for child, parent in self._inside(node))

    def _inside(self, node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        for child, parent in self.module.ancestors(node):
            yield child, parent
            if parent is self.body:
                return


def step_scopes(modules: Sequence[Module]) -> list[StepScope]:
    """The training loops: the innermost code around ``backward()`` and ``optimizer.step()``.

    Of two nested ones the inner is the step when it does both; else it is a part of it (micro-batches, a loop over
    optimizers) and the outer one is. A function counts when a loop calls it, and so does ``training_step``.
    """
    found: dict[Body, tuple[Module, set[str]]] = {}
    for module in modules:
        for call in module.calls():
            kind = _kind(call)
            body = _around(module, call) if kind and not _wraps(module, call) else None
            if kind and body is not None:
                found.setdefault(body, (module, set()))[1].add(kind)
        for node in module.walk():
            if isinstance(node, FUNCTIONS) and node.name in _STEP_METHODS:
                found[node] = (module, {"backward", "step"})
    dropped: set[Body] = set()
    for inner, (module, kinds) in found.items():
        for _, outer in module.ancestors(inner):
            if isinstance(outer, (*_LOOPS, *FUNCTIONS)) and outer in found:
                dropped.add(outer if len(kinds) == 2 else inner)
    kept = [b for b in found if b not in dropped and _repeated(b, modules)]
    return [_scope(found[body][0], body, modules) for body in kept]


def _repeated(body: Body, modules: Sequence[Module]) -> bool:
    if not isinstance(body, FUNCTIONS) or body.name in _STEP_METHODS:
        return True
    return any(True for m in modules for _ in _calling_loops(m, body.name))


def _around(module: Module, call: ast.Call) -> Body | None:
    """The innermost loop or function around a call; a closure handed to the optimizer belongs to the loop outside."""
    for _, parent in module.ancestors(call):
        if isinstance(parent, _LOOPS):
            return parent
        if isinstance(parent, FUNCTIONS) and parent.name != "closure":
            return parent
    return None


def _kind(call: ast.Call) -> str | None:
    """``backward`` or ``step`` when the call is one of a training step."""
    if not isinstance(call.func, ast.Attribute):
        return None
    if call.func.attr in _BACKWARD:
        return "backward"
    base = last(call.func.value).lower()
    optimizes = base.startswith("opt") or "optim" in base or base in ("scaler", "grad_scaler", "model_engine", "engine")
    return "step" if call.func.attr == "step" and optimizes else None


def _wraps(module: Module, call: ast.Call) -> bool:
    """A wrapper around ``backward()``, an optimizer or a scaler of the user's own is not a training loop."""
    function = module.function(call)
    method = function is not None and isinstance(module.parents[function], ast.ClassDef)
    return method and function is not None and function.name in ("backward", "step", "__call__", "forward")


def _scope(module: Module, body: Body, modules: Sequence[Module]) -> StepScope:
    losses: set[str] = set()
    for call in module.calls(body):
        if _kind(call) == "backward" and isinstance(call.func, ast.Attribute):
            named = [last(call.func.value)] if not call.args else []
            scaled = call.func.value.args if isinstance(call.func.value, ast.Call) else []
            losses.update(n for n in [*named, *map(last, [*call.args, *scaled])] if n)
    if isinstance(body, FUNCTIONS) and body.name in _STEP_METHODS:
        losses.update(last(n.value) for n in ast.walk(body) if isinstance(n, ast.Return) and n.value)
    kept = {name for name in losses if name and not _made_plain(body, name)}
    return StepScope(module, body, frozenset(kept), frozenset(_draws(module, body, modules)))


def _made_plain(body: Body, name: str) -> bool:
    """Whether the name is given a detached value in the step, so that later uses are harmless."""
    for node in ast.walk(body):
        if isinstance(node, ast.Assign) and any(_named(t, name) for t in node.targets) and detached(node.value):
            return True
    return False


def detached(node: ast.expr) -> bool:
    """Whether an expression ends the graph: ``.item()``, ``.detach()``, ``.data``, ``float()`` and the like."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and part.attr in ("item", "detach", "detach_", "data", "tolist", "numpy"):
            return True
        if isinstance(part, ast.Call) and last(part.func) in ("float", "int", "len", "str"):
            return True
    return False


def _draws(module: Module, body: Body, modules: Sequence[Module]) -> Iterator[str]:
    """Names the steps draw batches from, followed through a parameter to its callers."""
    loops = [body] if isinstance(body, _LOOPS) else []
    if isinstance(body, FUNCTIONS):
        yield "train_dataloader"
        loops += [c_loop for m in modules for c_loop in _calling_loops(m, body.name)]
    if isinstance(body, ast.While):
        drawn: list[ast.expr] = [c.args[0] for c in module.calls(body) if last(c.func) == "next" and c.args]
    else:
        drawn = [loop.iter for loop in loops if isinstance(loop, ast.For | ast.AsyncFor)]
    if isinstance(body, ast.For):
        yield f"for {body.lineno}"
    names = {last(n) for d in drawn for n in ast.walk(d) if isinstance(n, ast.Name | ast.Attribute)}
    yield from names
    function = module.function(body)
    if function is None:
        return
    places = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
    for other in modules:
        for call in other.calls():
            if last(call.func) == function.name:
                yield from (last(a) for p, a in zip(places, call.args, strict=False) if p in names)
                yield from (last(k.value) for k in call.keywords if k.arg in names)


def _calling_loops(module: Module, name: str) -> Iterator[ast.For | ast.AsyncFor | ast.While]:
    for call in module.calls():
        if last(call.func) == name:
            loop = next((p for _, p in module.ancestors(call) if isinstance(p, _LOOPS)), None)
            if loop is not None:
                yield loop


def _skipped(parent: ast.AST, child: ast.AST) -> bool:
    """Whether `child` of `parent` is not reached in every step."""
    if isinstance(parent, _LOOPS) and child in parent.orelse:
        return True
    before = getattr(parent, "body", []) if isinstance(parent, (*_LOOPS, *FUNCTIONS, ast.With)) else []
    for statement in before:
        if statement is child:
            return False
        leaves = isinstance(statement, ast.If) and isinstance(statement.body[-1], ast.Continue | ast.Return)
        if leaves and isinstance(statement, ast.If) and any(isinstance(n, ast.Mod) for n in ast.walk(statement.test)):
            return True
    return False


def _named(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
