"""The live footer: the program keeps its terminal, and the last lines say how it is doing."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
from pathlib import Path

import pyte
from rich.cells import cell_len

from advisor.engine import Engine, diagnose
from advisor.kb import load
from advisor.models import Fact, Lang, Profile, Series
from advisor.profile import restore
from advisor.report.live import HEIGHT, live_lines

KNOWLEDGE = load()
COLUMNS, ROWS = 100, 30
FACTS: dict[str, float | str] = {
    "run.phase": "training",
    "ml.step.time": 0.2,
    "ml.step.data_wait.time": 0.12,
    "ml.step.compute.time": 0.08,
    "ml.step.data_wait.fraction": 0.6,
    "ml.step.data_wait.exposed.fraction": 0.6,
    "config.dataloader.num_workers": 0.0,
    "system.io.stall.fraction": 0.0,
    "process.cpu.usable.count": 8.0,
}


def lines(lang: Lang, width: int) -> list[str]:
    facts = {n: Fact(n, v, KNOWLEDGE.facts[n].unit, "training hook") for n, v in FACTS.items()}
    series = {"ml.step.time": Series((1.0, 2.0, 3.0), (0.1, 0.2, 0.4)), "hw.gpu.utilization": Series((0.0,), (0.5,))}
    raw = Profile("x", "train.py", "2026-01-01T00:00:00+00:00", 12.0, (), facts, series)
    found = diagnose(restore(raw, KNOWLEDGE.facts), Engine(KNOWLEDGE))
    return [line.plain for line in live_lines(found, KNOWLEDGE, lang, "python train.py", width)]


def test_the_footer_shows_the_step_the_machine_and_the_finding() -> None:
    said = lines("en", 160)

    assert len(said) == HEIGHT
    assert "python train.py" in said[0]
    assert "200 ms" in said[1]
    assert "▃▅█ 400 ms" in said[2]
    assert "Data loading runs in the training process" in said[3]
    assert "数据加载在训练进程内执行" in lines("zh-Hans", 160)[3]


def test_the_footer_keeps_within_a_narrow_terminal() -> None:
    assert all(cell_len(line) <= 40 for lang in ("en", "zh-Hans") for line in lines(lang, 40))


def in_terminal(argv: list[str], env: dict[str, str]) -> tuple[list[str], int]:
    """All lines that a command leaves behind in a real terminal, and its exit status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, *argv], env)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen = pyte.HistoryScreen(COLUMNS, ROWS, history=500)
    stream, raw = pyte.ByteStream(screen), b""
    try:
        while chunk := os.read(terminal, 65536):
            raw += chunk
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    stream.feed(raw)
    assert b"\x1b[1;25r" in raw, "the last lines were kept"
    assert raw.rindex(b"\x1b[r") > raw.rindex(b"\x1b[1;25r"), "and given back"
    above = ["".join(line[x].data for x in range(COLUMNS)) for line in screen.history.top]
    shown = [line.rstrip() for line in (*above, *screen.display)]
    return shown, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_programs_output_and_status_are_its_own(tmp_path: Path) -> None:
    program = "import time\nfor i in range(8): print('line', i, flush=True); time.sleep(0.5)\nraise SystemExit(7)"
    env = {**os.environ, "TERM": "xterm", "ADVISOR_DATA": str(tmp_path), "LC_ALL": "C.UTF-8"}

    shown, status = in_terminal(["-m", "advisor", "run", "--live", "--", sys.executable, "-c", program], env)

    assert status == 7
    assert [line for line in shown if line.startswith("line ")] == [f"line {i}" for i in range(8)]
    assert not any("── advisor" in line for line in shown), "the footer is gone"
