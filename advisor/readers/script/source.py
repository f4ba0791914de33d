"""One Python file as a tree that knows its parents and what imported names mean. Nothing is executed."""

from __future__ import annotations

import ast
import itertools
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from advisor.errors import InputError
from advisor.readers.artefact import HEAD

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NO_GRAD = ("no_grad", "inference_mode", "set_grad_enabled")
_HOLDERS = ("self", "accelerator", "args", "dist", "torch", "distributed", "trainer", "fabric")
_RANK_WORDS = ("rank", "main_process", "master", "is_main", "primary")


_IMPORT = re.compile(r"^(?:import [A-Za-z_][\w.]*(?: as \w+)?(?:, [\w., ]+)?|from [\w.]+ import \S.*)$", re.MULTILINE)


def looks_like_python(head: str) -> bool:
    """Whether a text begins like Python source: a shebang that says so, or an import at the start of a line."""
    first = head.partition("\n")[0]
    return (first.startswith("#!") and "python" in first) or bool(_IMPORT.search(head))


def parses(head: str) -> bool:
    """Whether a text is Python as far as it goes: notes and logs may hold an import, but not from their first line on.

    What was cut off at the end may not parse; a mistake in the last tenth is forgiven.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(head)
    except SyntaxError as error:
        lines = head.count("\n") + 1
        return len(head) >= HEAD // 2 and (error.lineno or 0) > 0.9 * lines
    except (ValueError, RecursionError, MemoryError):
        return False
    return True


@dataclass(frozen=True)
class Module:
    """A parsed file. `shown` is its path as a person writes it, relative to the working directory when inside it."""

    path: Path
    shown: str
    tree: ast.Module
    parents: dict[ast.AST, ast.AST] = field(repr=False)
    imports: dict[str, str] = field(repr=False)
    order: list[ast.AST] = field(repr=False)
    starts: dict[ast.AST, int] = field(repr=False)
    ends: dict[ast.AST, int] = field(repr=False)

    def where(self, node: ast.expr | ast.stmt) -> str:
        """``file:line`` of a node."""
        return f"{self.shown}:{node.lineno}"

    def dotted(self, node: ast.AST) -> str:
        """The full name of ``a.b.c`` with imports followed (``F.relu`` is ``torch.nn.functional.relu``), else ''."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self.imports.get(node.id, node.id), *reversed(parts)])

    def walk(self, below: ast.AST | None = None) -> Iterator[ast.AST]:
        """Every node of the file, or `below` and all under it, in the order of the file."""
        top = below or self.tree
        return itertools.islice(self.order, self.starts[top], self.ends[top])

    def calls(self, below: ast.AST | None = None) -> Iterator[ast.Call]:
        """Every call in the file, or below a node, in the order of the file."""
        return (n for n in self.walk(below) if isinstance(n, ast.Call))

    def ancestors(self, node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        """(child, parent) pairs from `node` up to the module."""
        while node in self.parents:
            yield node, self.parents[node]
            node = self.parents[node]

    def function(self, node: ast.AST) -> Function | None:
        """The function around a node."""
        return next((p for _, p in self.ancestors(node) if isinstance(p, FUNCTIONS)), None)

    def unconditional(self, node: ast.AST, top: ast.AST | None = None) -> bool:
        """Whether `node` runs whenever the code around it (up to `top`) does: under no ``if``, handler or lambda.

        The test of an ``if`` always runs; ``if __name__ == "__main__"`` and a guard on the rank alone count as open.
        """
        for child, parent in self.ancestors(node):
            if _branches(child, parent) or (top is not None and parent is not top and isinstance(parent, FUNCTIONS)):
                return False
            if parent is top:
                return True
        return True

    def without_grad(self, node: ast.AST) -> bool:
        """Whether a node stands under ``no_grad()`` or a sibling of it, as a context or a decorator."""
        for _, parent in self.ancestors(node):
            if isinstance(parent, ast.With) and any(mentions(i.context_expr, NO_GRAD) for i in parent.items):
                return True
            if isinstance(parent, FUNCTIONS) and any(mentions(d, NO_GRAD) for d in parent.decorator_list):
                return True
        return False


def last(node: ast.AST) -> str:
    """``c`` of ``a.b.c`` and of ``c``; '' of anything else."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def mentions(node: ast.AST, words: Sequence[str]) -> bool:
    """Whether one of the names stands anywhere below a node."""
    return any(last(n) in words for n in ast.walk(node))


def parse(path: Path, shown: str, text: bytes) -> Module:
    """The module in a file's bytes.

    Raises:
        InputError: when they are not Python source that this interpreter can read; one sentence.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler thinks of the user's string escapes is not our affair
            tree = ast.parse(text)
    except SyntaxError as error:
        what = f"line {error.lineno}: {error.msg}" if error.lineno else str(error.msg)
        raise InputError(f"{shown} is not Python that can be read ({what}); check the file and its version") from None
    except (ValueError, RecursionError, MemoryError) as error:
        what = str(error) or type(error).__name__
        raise InputError(f"{shown} is not Python that can be read ({what}); check the file") from None
    return _indexed(path, shown, tree)


def _indexed(path: Path, shown: str, tree: ast.Module) -> Module:
    """One pass over the tree, so that everything later reads a slice of a list; no recursion, however deep it is."""
    order: list[ast.AST] = []
    parents: dict[ast.AST, ast.AST] = {}
    starts: dict[ast.AST, int] = {}
    ends: dict[ast.AST, int] = {}
    stack: list[tuple[ast.AST, bool]] = [(tree, False)]
    while stack:
        node, done = stack.pop()
        if done:
            ends[node] = len(order)
            continue
        starts[node] = len(order)
        order.append(node)
        stack.append((node, True))
        for child in reversed(list(ast.iter_child_nodes(node))):
            if not isinstance(child, ast.expr_context | ast.operator | ast.boolop | ast.unaryop | ast.cmpop):
                parents[child] = node
                stack.append((child, False))
    return Module(path, shown, tree, parents, _imports(order), order, starts, ends)


def _imports(nodes: list[ast.AST]) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update({a.asname: a.name for a in node.names if a.asname})
        elif isinstance(node, ast.ImportFrom):
            inside = "." * node.level + (node.module or "")
            names.update({a.asname or a.name: f"{inside}.{a.name}" for a in node.names})
    return names


def _branches(child: ast.AST, parent: ast.AST) -> bool:
    if isinstance(parent, ast.If):
        return child is not parent.test and not _open_guard(parent, child)
    if isinstance(parent, ast.IfExp):
        return child is not parent.test
    if isinstance(parent, ast.BoolOp):
        return child is not parent.values[0]
    return isinstance(parent, ast.ExceptHandler | ast.Lambda | ast.match_case)


def _open_guard(guard: ast.If, child: ast.AST) -> bool:
    if child not in guard.body:
        return False
    names = [last(n) for n in ast.walk(guard.test) if last(n)]
    if names == ["__name__"]:
        return True
    counts = any(isinstance(n, ast.Mod | ast.Gt | ast.Lt | ast.GtE | ast.LtE) for n in ast.walk(guard.test))
    ranks = [n for n in names if any(word in n.lower() for word in _RANK_WORDS)]
    known = [n for n in names if n in _HOLDERS]
    return bool(ranks) and len(ranks) + len(known) == len(names) and not counts
