"""Slow habits around the training step: tokenising while samples are loaded, evaluating with gradients recorded."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from advisor.readers.script.loops import StepScope
from advisor.readers.script.source import FUNCTIONS, NO_GRAD, Function, Module, last, mentions

_TOKENIZES = ("encode", "encode_plus", "batch_encode", "batch_encode_plus", "tokenize")


def tokenizes(modules: Sequence[Module], scopes: Sequence[StepScope]) -> str | None:
    """Where text is tokenised while samples are loaded or collated, if anywhere."""
    for module in modules:
        collates = {
            k.value.id for c in module.calls() for k in c.keywords
            if k.arg == "collate_fn" and isinstance(k.value, ast.Name)
        }  # fmt: skip
        for node in module.walk():
            if isinstance(node, FUNCTIONS) and (
                node.name == "__getitem__" or "collate" in node.name.lower() or node.name in collates
            ):
                for call in module.calls(node):
                    if _tokenizer_call(call):
                        return module.where(call)
    for scope in scopes:
        for node in scope.nodes():
            if isinstance(node, ast.Call) and _tokenizer_call(node):
                return scope.module.where(node)
    return None


def _tokenizer_call(call: ast.Call) -> bool:
    func = call.func
    if isinstance(func, ast.Attribute) and func.attr in _TOKENIZES:
        func = func.value
    return last(func).lower().endswith("tokenizer")


def evaluates_with_gradients(modules: Sequence[Module]) -> str | None:
    """Where a model that was put into ``eval()`` runs over batches while autograd records, if anywhere."""
    for module in modules:
        for function in (n for n in module.walk() if isinstance(n, FUNCTIONS)):
            where = _evaluation(module, function)
            if where and not any(_shielded(m, function.name) for m in modules):
                return where
    return None


def _shielded(module: Module, name: str) -> bool:
    """Whether a function is called under ``no_grad()`` somewhere."""
    return any(last(c.func) == name and module.without_grad(c) for c in module.calls())


def _evaluation(module: Module, function: Function) -> str | None:
    calls = [c for c in module.calls(function) if module.function(c) is function]
    models = {
        module.dotted(c.func.value)
        for c in calls
        if isinstance(c.func, ast.Attribute) and c.func.attr == "eval" and not c.args and module.dotted(c.func.value)
    }
    if not models or mentions(function, (*NO_GRAD, "backward", "grad", "requires_grad_", "enable_grad", "generate")):
        return None
    for call in calls:
        loop = any(isinstance(p, ast.For) for _, p in module.ancestors(call))
        if loop and module.dotted(call.func) in models - {"self"}:
            return module.where(call)
    return None
