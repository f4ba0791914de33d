"""Examples under limits that only root can set: quota, memory limit, slow disk, FUSE mount and network, for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from example_runs import check_facts, check_rule, check_twin, params

from bench.accuracy.runs import ROOT
from bench.accuracy.scenarios import SYSTEM, Scenario

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="limits.py needs root")


@needs_root
@pytest.mark.parametrize("scenario", params(SYSTEM))
def test_the_cause_is_measured(scenario: Scenario) -> None:
    check_facts(scenario)


@needs_root
@pytest.mark.parametrize("scenario", params(SYSTEM))
def test_the_cause_is_named_first(scenario: Scenario) -> None:
    check_rule(scenario)


@needs_root
@pytest.mark.parametrize("scenario", params(SYSTEM))
def test_the_healthy_twin_is_not_blamed(scenario: Scenario) -> None:
    check_twin(scenario)


def limits(*arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "examples/limits.py", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def left_behind(pid: int) -> list[str]:
    """What `limits.py` with this process id still has on the system."""
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/limits-{pid}")]
    names = [str(path) for path in Path("/run/netns").glob(f"limits-{pid}-*")]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if f"/limits-{pid}-" in line]
    return groups + names + mounts


@needs_root
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("limit", ["cpu", "memory", "disk", "fuse", "network"])
def test_a_limit_that_is_interrupted_leaves_nothing_behind(limit: str, sent: signal.Signals) -> None:
    run = limits(limit, "--", "sh", "-c", "echo there; exec sleep 60", start_new_session=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "there\n"
    before = left_behind(run.pid)
    os.killpg(run.pid, sent)
    try:
        run.communicate(timeout=30)
    finally:
        run.terminate()
    assert before, "nothing was set up"
    assert left_behind(run.pid) == []
    assert run.returncode == 128 + sent


@needs_root
@pytest.mark.parametrize("limit", ["cpu", "disk", "fuse", "network"])
def test_the_exit_status_is_the_commands_own(limit: str) -> None:
    run = limits(limit, "--", "sh", "-c", "exit 3")
    run.communicate(timeout=30)
    assert run.returncode == 3
    assert left_behind(run.pid) == []


@needs_root
def test_a_slow_mount_keeps_what_is_written_and_delays_what_is_read() -> None:
    script = (
        "cd {folder} && mkdir a && head -c 300000 /dev/urandom > a/b && cksum < a/b; stat -c %s a/b; ls a; cat a/no"
    )
    began = time.monotonic()
    said, error = limits("fuse", "--delay-ms", "300", "--", "sh", "-c", script).communicate(timeout=30)
    assert said.split()[1:] == ["300000", "300000", "b"]
    assert time.monotonic() - began > 0.3
    assert "No such file" in error


def test_without_root_one_sentence_says_what_is_needed() -> None:
    become = {"preexec_fn": lambda: os.setuid(65534)} if os.geteuid() == 0 else {}
    command = ["python3", "-S", str(ROOT / "examples/limits.py"), "cpu", "--", "true"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, **become)  # type: ignore[call-overload]
    except PermissionError:
        pytest.skip("another user cannot start Python here")
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "root" in run.stderr
