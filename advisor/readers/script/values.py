"""What an expression is worth before the program runs: literals, names assigned once, defaults of argparse options."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import NamedTuple

from advisor.readers.script.source import FUNCTIONS, Function, Module

Plain = bool | int | float | str | None
_DEPTH = 5
_HOLDERS = ("args", "opt", "opts", "options", "flags", "hparams", "config", "cfg", "params", "arguments")


class Known(NamedTuple):
    """A value; `via` says what it was read through when the expression is not a literal."""

    value: Plain
    via: str = ""


class Values:
    """Resolves expressions of the modules; `arguments` are the words the script is started with."""

    def __init__(self, modules: Sequence[Module], arguments: Sequence[str]) -> None:
        self._options: dict[str, Known | None] = {}
        for module in modules:
            for call in module.calls():
                if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument":
                    self._option(call, arguments)
        self._assigned = {id(m): _Assigned(m) for m in modules}

    def of(self, module: Module, node: ast.expr, depth: int = _DEPTH) -> Known | None:
        """The value of an expression, None when it depends on the run."""
        literal = _literal(node)
        if literal is not None:
            return literal
        if depth and isinstance(node, ast.Name):
            given = self._assigned[id(module)].value(module, node)
            found = self.of(module, given, depth - 1) if given is not None else None
            return Known(found.value, node.id) if found else None
        if isinstance(node, ast.Attribute):
            holder = module.dotted(node.value).rpartition(".")[2].lower()
            if holder in _HOLDERS and (option := self._options.get(node.attr)):
                return option
        return None

    def _option(self, call: ast.Call, arguments: Sequence[str]) -> None:
        names = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        given = {k.arg: k.value for k in call.keywords if k.arg}
        flags = [n for n in names if n.startswith("-")]
        if not flags:
            return
        long = next((n for n in flags if n.startswith("--")), flags[0])
        named = given.get("dest")
        dest = str(named.value) if isinstance(named, ast.Constant) else long.lstrip("-").replace("-", "_")
        value = _stated(flags, given, arguments) if _mentioned(flags, arguments) else _default(given)
        if dest in self._options and self._options[dest] != value:
            value = None  # two parsers that disagree
        self._options[dest] = Known(value.value, f"--{dest}") if value else None


class _Assigned:
    """The names of a module that are assigned once per scope, with their expressions."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._found: dict[tuple[ast.AST | None, str], list[ast.expr | None]] = {}
        self._executes = any(isinstance(c.func, ast.Name) and c.func.id == "exec" for c in module.calls())
        for node in module.walk():
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
                parent = module.parents.get(node)
                simple = isinstance(parent, ast.Assign) and len(parent.targets) == 1 and parent.targets[0] is node
                given = parent.value if simple and isinstance(parent, ast.Assign) else None
                if isinstance(parent, ast.AnnAssign):
                    given = parent.value
                self._found.setdefault((module.function(node), node.id), []).append(given)
            elif isinstance(node, ast.Global | ast.Nonlocal):
                for name in node.names:
                    self._found.setdefault((None, name), []).append(None)

    def value(self, module: Module, node: ast.Name) -> ast.expr | None:
        scope: Function | None = module.function(node)
        while scope is not None:
            if (scope, node.id) in self._found:
                return self._only(scope, node.id)
            if any(a.arg == node.id for a in ast.walk(scope.args) if isinstance(a, ast.arg)):
                return None  # a parameter: its callers decide
            scope = next((p for _, p in module.ancestors(scope) if isinstance(p, FUNCTIONS)), None)
        return None if self._executes else self._only(None, node.id)  # exec may set any global

    def _only(self, scope: Function | None, name: str) -> ast.expr | None:
        given = self._found.get((scope, name), [])
        only = given[0] if len(given) == 1 else None
        return only if only is not None and self._module.unconditional(only) else None


def _literal(node: ast.expr) -> Known | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        value = node.operand.value
        return Known(-value) if isinstance(value, int | float) else None
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool | int | float | str)):
        return Known(node.value)
    return None


def _default(given: dict[str, ast.expr]) -> Known | None:
    """The value without the option on the command line; a required option has none."""
    if "default" in given:
        return _literal(given["default"])
    action = given.get("action")
    if isinstance(action, ast.Constant) and action.value in ("store_true", "store_false"):
        return Known(action.value == "store_false")
    return None


def _mentioned(flags: Sequence[str], arguments: Sequence[str]) -> bool:
    """Whether an argument is one of the flags, or may be its abbreviation or have its value attached."""
    for word in arguments:
        key = word.partition("=")[0]
        if key.startswith("--"):
            plain = key.removeprefix("--no-")
            hit = any(f.startswith(key) or f == f"--{plain}" for f in flags)
        else:
            hit = any(word.startswith(f) for f in flags if not f.startswith("--"))
        if hit:
            return True
    return False


def _stated(flags: Sequence[str], given: dict[str, ast.expr], arguments: Sequence[str]) -> Known | None:
    """The value that the command line gives, when it can be told for sure."""
    action = given.get("action")
    for place, word in enumerate(arguments):
        key, equals, value = word.partition("=")
        if key not in flags:
            continue
        if isinstance(action, ast.Constant) and action.value in ("store_true", "store_false"):
            return Known(action.value == "store_true")
        text = value if equals else next(iter(arguments[place + 1 :]), "")
        kind = given.get("type")
        if action is not None or "nargs" in given or not isinstance(kind, ast.Name | None):
            return None
        return _converted(text, kind.id if kind else "str")
    return None


def _converted(text: str, kind: str) -> Known | None:
    kinds: dict[str, Callable[[str], Plain]] = {"int": int, "float": float, "str": str}
    try:
        return Known(kinds[kind](text))
    except (KeyError, ValueError):
        return None
