"""Where code spends its time: rows of sampled stacks, from inside the process and from py-spy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from advisor.collect.base import Facts
from advisor.collect.sampler import Sampler, replay
from advisor.collect.stacks import LEAST, PySpy, raw_rows, stack_facts

PROGRAM = """
import time

def smooth(n):
    total = 0.0
    for i in range(n):
        total += i * 0.5
    return total

def rest():
    time.sleep(0.02)

while True:
    smooth(1_500_000)
    rest()
"""


@pytest.fixture
def spinning(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "train.py").write_text(PROGRAM)
    process = subprocess.Popen([sys.executable, "train.py"], cwd=tmp_path)
    time.sleep(0.5)
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.skipif(os.getuid() != 0, reason="attaching to a process that is no child needs root or ptrace_scope 0")
def test_py_spy_finds_the_function_that_takes_the_time(spinning: int) -> None:
    sampler = Sampler([PySpy(spinning, 4.0)])
    sampler.start()
    time.sleep(4.0)
    sampler.stop()
    (reading,) = sampler.readings()

    facts = {f.name: f for f in reading.facts}
    hottest = facts["process.code.hotspot.fraction"]
    assert isinstance(hottest.value, float)
    assert hottest.value > 0.6
    assert hottest.where is not None
    assert hottest.where.startswith(("train.py:6 in smooth", "train.py:7 in smooth"))
    assert "process.code.interpreter.fraction" not in facts, "from outside one cannot tell who holds the lock"
    assert replay(sampler.captures())[0].facts == reading.facts


def test_a_process_that_is_no_python_is_told(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "30"])
    try:
        with pytest.raises((FileNotFoundError, PermissionError), match=r"py-spy|Python"):
            PySpy(process.pid, 2.0).read()
    finally:
        process.kill()
        process.wait()


def test_without_a_process_nothing_is_sampled() -> None:
    with pytest.raises(FileNotFoundError, match="no process was given"):
        PySpy(None, 2.0).read()


RAW = """\
<module> (/w/train.py:90);step (/w/train.py:41);forward (/v/site-packages/torch/nn/modules/linear.py:10) 50
<module> (/w/train.py:90);step (/w/train.py:43);smooth (/w/ops.py:7) 30
<module> (/w/train.py:90);step (/w/train.py:43);smooth (/w/ops.py:8) 10
<module> (/w/train.py:88);__next__ (/v/site-packages/torch/utils/data/dataloader.py:1);get (/w/data.py:5) 60
<module> (/w/train.py:91);dumps (/usr/lib/python3.11/json/__init__.py:2) 5
_bootstrap (/usr/lib/python3.11/threading.py:1);worker (/w/train.py:2) 500
not a stack at all
"""


def test_rows_tell_own_code_from_operators_loader_and_other_threads() -> None:
    rows = list(raw_rows(RAW))

    assert [(r.file, r.line, r.kind, r.loading, r.seen) for r in rows] == [
        ("/w/train.py", 41, "torch", False, 50),
        ("/w/ops.py", 7, "own", False, 30),
        ("/w/ops.py", 8, "own", False, 10),
        ("/w/data.py", 5, "own", True, 60),
        ("/w/train.py", 91, "python", False, 5),
    ]


def test_facts_name_the_function_at_its_hottest_line() -> None:
    facts = Facts("py-spy")
    rows = list(raw_rows(RAW))
    stack_facts(facts, {"rows": rows, "samples": sum(r.seen for r in rows), "cwd": "/w", "held": 35}, ())
    found = {f.name: (f.value, f.where) for f in facts.all()}

    assert found["process.code.hotspot.fraction"] == (pytest.approx(40 / 155), "ops.py:7 in smooth")
    assert found["ml.dataloader.hotspot.fraction"] == (1.0, "data.py:5 in get")
    assert found["process.code.interpreter.fraction"][0] == 0.0


def test_few_samples_say_nothing() -> None:
    facts = Facts("py-spy")
    rows = [row._replace(seen=1) for row in raw_rows(RAW)]
    stack_facts(facts, {"rows": rows, "samples": LEAST - 1, "cwd": "/w"}, ())

    assert facts.all() == ()


def test_a_tokenizer_in_the_loader_is_recognised() -> None:
    fetch = "<module> (/w/train.py:9);fetch (/v/site-packages/torch/utils/data/_utils/fetch.py:1);"
    text = (
        f"{fetch}__getitem__ (/w/data.py:4);BytePairTokenizer.encode (/w/data.py:20) 30\n"
        f"{fetch}collate (/w/data.py:40) 70\n"
    )
    facts = Facts("py-spy")
    stack_facts(facts, {"rows": list(raw_rows(text)), "samples": 100, "cwd": "/w"}, ())
    found = {f.name: (f.value, f.where) for f in facts.all()}

    assert found["config.tokenize_on_the_fly"] == (True, "data.py:20 in BytePairTokenizer.encode")
    few = Facts("py-spy")
    stack_facts(few, {"rows": list(raw_rows(text.replace(" 30", " 10"))), "samples": 100, "cwd": "/w"}, ())
    assert "config.tokenize_on_the_fly" not in {f.name for f in few.all()}
