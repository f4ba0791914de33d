"""The examples in docstrings hold: formulas, numbers in words, tokens."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    ("name", "at_least"),
    [
        ("advisor.derive.achieved", 3),
        ("advisor.derive.checkpoint", 3),
        ("advisor.derive.communication", 5),
        ("advisor.derive.gpu", 16),
        ("advisor.derive.host", 8),
        ("advisor.derive.loading", 10),
        ("advisor.derive.memory", 2),
        ("advisor.derive.parallel", 6),
        ("advisor.derive.serving", 12),
        ("advisor.derive.threads", 4),
        ("advisor.text", 9),
        ("advisor.answer.intent", 1),
        ("advisor.answer.ruled_out", 1),
        ("advisor.answer.stated.quantities", 1),
        ("advisor.condition.parse", 1),
        ("advisor.collect.base", 1),
        ("advisor.collect.data_files", 1),
        ("advisor.collect.numa", 1),
        ("advisor.collect.trend", 2),
        ("advisor.collect.waits", 1),
        ("advisor.answer.search", 1),
        ("advisor.answer.sizing.formulas", 15),
        ("advisor.answer.sizing.hardware", 2),
        ("advisor.answer.sizing.reader", 2),
        ("advisor.answer.sizing.shapes", 3),
        ("advisor.answer.sizing.sheet", 4),
        ("advisor.answer.sizing.speed", 1),
        ("advisor.answer.sizing.words", 1),
        ("advisor.collect.gpu_pci", 1),
        ("advisor.collect.http", 1),
        ("advisor.collect.prometheus_query", 1),
        ("advisor.collect.stacks", 1),
        ("advisor.derive.script", 1),
        ("advisor.derive.xid", 1),
        ("advisor.readers.host.part", 1),
        ("advisor.readers.host.roots", 1),
        ("advisor.readers.profilers.kernels", 1),
        ("advisor.readers.log.nccl_lines", 1),
        ("advisor.readers.log.oom", 1),
        ("advisor.readers.log.training.part", 1),
        ("advisor.readers.metric_names", 1),
        ("advisor.readers.metrics.gpu", 1),
        ("advisor.readers.paste", 1),
        ("advisor.readers.metrics.prometheus", 1),
        ("advisor.readers.metrics.sample_signs", 1),
        ("advisor.readers.smi.choose", 1),
        ("advisor.readers.smi.fields", 1),
        ("advisor.readers.smi.query", 1),
        ("advisor.readers.smi.topology", 1),
        ("advisor.readers.smi.values", 1),
        ("advisor.readers.tfrecord", 1),
        ("advisor.readers.web_page", 1),
        ("advisor.report.live", 1),
    ],
)
def test_examples_hold(name: str, at_least: int) -> None:
    result = doctest.testmod(importlib.import_module(name))

    assert result.failed == 0
    assert result.attempted >= at_least


def test_every_formula_has_an_example_and_a_fact() -> None:
    from advisor.derive import FORMULAS
    from advisor.kb import load

    facts = load().facts
    for formula in FORMULAS:
        assert ">>> " in (formula.compute.__doc__ or ""), formula.name
        assert {formula.name, *formula.needs, *formula.optional} <= set(facts), formula.name
