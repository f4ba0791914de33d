"""`advisor run`'s driver: the command keeps its exit status, output and signals, and is watched meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from advisor.collect import run as runner
from advisor.collect.run import Run, run
from advisor.errors import InputError

TRAINING = """
import os, signal, sys, time, torch
from torch.utils.data import DataLoader, TensorDataset
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
print("training", flush=True)
for step, (x,) in enumerate(DataLoader(TensorDataset(torch.ones(5000, 1)), batch_size=2)):
    model(x).sum().backward()
    optimizer.step()
    time.sleep(0.01)
    if step == 250:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_exit_status_and_output_are_the_commands_own(capfd: pytest.CaptureFixture[str]) -> None:
    done = run(python("import sys; print('out'); print('err', file=sys.stderr); raise SystemExit(5)"))
    assert done.exit_status == 5
    assert capfd.readouterr() == ("out\n", "err\n")
    assert done.started.endswith("+00:00")
    assert 0 < done.duration_s < 30
    assert {r.source.kind for r in done.readings} >= {"training hook", "environment"}
    assert done.ranks == ()


def test_a_traceback_is_unchanged(capfd: pytest.CaptureFixture[str]) -> None:
    command = python("def f(): raise KeyError('lost')\nf()")
    plain = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert run(command).exit_status == 1
    assert capfd.readouterr().err == plain


def test_a_killed_training_leaves_the_facts_up_to_then_and_ticks_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAINING)
    ticks: list[Run] = []
    done = run([sys.executable, str(tmp_path / "train.py")], ticks.append, tick_s=1.0)
    assert done.exit_status == 137
    hook = next(r for r in done.readings if r.source.kind == "training hook")
    facts = {f.name: f.value for f in hook.facts}
    assert 50 <= float(facts["ml.step.count"]) <= 249
    assert facts["config.dataloader.num_workers"] == 0
    assert len(ticks) >= 2
    assert all(t.exit_status == 0 for t in ticks)
    assert any(f.name == "ml.step.time" for t in ticks for r in t.readings for f in r.facts)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_signals_reach_the_command_and_the_run_still_reports(number: int, expected: int) -> None:
    driver = (
        "import sys; from advisor.collect.run import run\n"
        "done = run([sys.executable, '-c', \"import time; print('up', flush=True); time.sleep(60)\"])\n"
        "print(done.exit_status, len(done.readings) > 3)"
    )
    # A session of its own: no terminal, so that nobody but us can pass the signal on.
    with subprocess.Popen(
        [sys.executable, "-c", driver],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.stdout.read() == f"{expected} True\n"


def test_a_command_that_cannot_start_is_one_sentence(tmp_path: Path) -> None:
    plain = tmp_path / "notes.txt"
    plain.write_text("not a program")
    cases = {
        (): "There is no command to run",
        ("no-such-program-anywhere",): "no-such-program-anywhere was not found",
        (str(plain),): "may not be executed",
    }
    for command, expected in cases.items():
        with pytest.raises(InputError, match=expected) as caught:
            run(command)
        assert "\n" not in str(caught.value)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = tmp_path / "seen"
    run(python(f"import os; open({str(seen)!r}, 'w').write(os.environ['ADVISOR_HOOK_DIR'])"))
    assert Path(seen.read_text()).parent == tmp_path
    assert os.listdir(tmp_path) == ["seen"]
    assert "ADVISOR_HOOK_DIR" not in os.environ


def test_what_fails_on_our_side_is_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("no collectors today")

    def tick(_: Run) -> None:
        raise ValueError("page closed")

    monkeypatch.setattr(runner, "default_collectors", broken)
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    done = run(python("import time; time.sleep(0.8); raise SystemExit(4)"), tick, tick_s=0.1)
    assert done.exit_status == 4
    notes = " ".join(r.source.note for r in done.readings)
    assert "no collectors today" in notes
    assert "page closed" in notes
    assert "No folder" in notes
    assert all(r.source.state == "unreadable" for r in done.readings)


def test_it_runs_outside_the_main_thread() -> None:
    results: list[Run] = []
    thread = threading.Thread(target=lambda: results.append(run(python("raise SystemExit(3)"))))
    thread.start()
    deadline = time.monotonic() + 30
    thread.join(max(0.0, deadline - time.monotonic()))
    assert [r.exit_status for r in results] == [3]


def test_killing_advisor_leaves_the_program_running(tmp_path: Path) -> None:
    program = "import pathlib, time; time.sleep(3); pathlib.Path('went-on').write_text('yes'); print('still here')"
    driver = f"import sys; from advisor.collect.run import run; run([sys.executable, '-c', {program!r}])"
    with subprocess.Popen([sys.executable, "-c", driver], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as advisor:
        time.sleep(1.5)
        advisor.kill()
        advisor.wait()
        assert not (tmp_path / "went-on").exists()
        assert advisor.stdout is not None
        assert advisor.stdout.read() == "still here\n", "it kept its output too"
    assert (tmp_path / "went-on").read_text() == "yes"
