"""The commands as a person types them: output, files, exit status, and one sentence for bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STARVED = {
    "subject": "python train.py",
    "facts": {
        "run.phase": "training",
        "run.gpu.used": False,
        "ml.step.time": 0.8,
        "ml.step.count": 40,
        "ml.step.compute.time": 0.2,
        "ml.step.data_wait.exposed.fraction": 0.7,
        "ml.dataloader.batch.time": 0.5,
        "config.dataloader.num_workers": 0,
        "system.io.stall.fraction": 0.0,
        "container.cpuset.count": 8,
    },
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(STARVED))
    return path


def advisor(home: Path, *args: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "ADVISOR_DATA": str(home), "LANG": "C.UTF-8", "LC_ALL": "", **extra}
    command = [sys.executable, "-m", "advisor", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)


def test_diagnose_this_machine_prints_a_valid_document(home: Path) -> None:
    done = advisor(home, "diagnose", "--seconds", "1", "--json")
    document = json.loads(done.stdout)

    assert done.returncode == 0, done.stderr
    assert document["schema"] == 1
    assert document["verdict"] in ("bottleneck", "healthy", "inconclusive")
    states = {s["origin"]: s["state"] for s in document["profile"]["sources"]}
    assert states["/proc"] == "ok"
    assert set(states.values()) <= {"ok", "absent", "denied", "timeout", "unreadable"}
    assert 0 <= document["profile"]["facts"]["system.cpu.utilization"]["value"] <= 1
    assert document["errors"] == []


def test_diagnose_a_file_in_both_languages(home: Path, profile: Path) -> None:
    english, chinese = advisor(home, "diagnose", profile), advisor(home, "diagnose", profile, LANG="zh_CN.UTF-8")

    assert "Data loading runs in the training process" in english.stdout
    assert "数据加载在训练进程内执行" in chinese.stdout
    assert "num_workers=4" in english.stdout


def test_fail_on_sets_the_exit_status(home: Path, profile: Path) -> None:
    assert advisor(home, "diagnose", profile, "--fail-on", "serious").returncode == 1
    assert advisor(home, "diagnose", profile, "--fail-on", "critical").returncode == 0


def test_what_out_saves_is_read_again(home: Path, profile: Path, tmp_path: Path) -> None:
    saved = tmp_path / "diagnosis.json"
    advisor(home, "diagnose", profile, "--out", saved)

    asked = advisor(home, "ask", "why is my training slow?", "--profile", saved, "--json")
    answer = json.loads(asked.stdout)

    assert answer["rules"] == ["dataloader-no-workers"]
    gain = answer["diagnosis"]["findings"][0]["gain"]
    assert (gain["share"], gain["speedup_at_most"]) == (0.7, 3.33)


def test_ask_uses_the_latest_run(home: Path, profile: Path) -> None:
    before = json.loads(advisor(home, "ask", "why is my training slow?", "--json").stdout)
    advisor(home, "diagnose", profile)
    after = json.loads(advisor(home, "ask", "why is my training slow?", "--json").stdout)

    assert (before["kind"], after["kind"]) == ("clarify", "diagnosis")
    assert after["topics"][0]["id"] == "dataloader_bottleneck"


def test_ask_batch_answers_every_question_as_a_line(home: Path, tmp_path: Path) -> None:
    batch = tmp_path / "questions.yaml"
    batch.write_text(
        "- id: a\n  text: how many DataLoader workers?\n- id: 2\n  text: 显存不足怎么办\n", encoding="utf-8"
    )

    lines = [json.loads(line) for line in advisor(home, "ask", "--batch", batch, "--json").stdout.splitlines()]

    assert [line["id"] for line in lines] == ["a", "2"]
    assert [line["lang"] for line in lines] == ["en", "zh-Hans"]
    assert all(len(line["topics"]) == 5 for line in lines)


def test_report_renders_every_format(home: Path, profile: Path, tmp_path: Path) -> None:
    done = advisor(home, "report", profile, "--format", "md,html,json", "--out", tmp_path)

    assert done.returncode == 0, done.stderr
    written = [Path(line) for line in done.stdout.splitlines()]
    assert [p.suffix for p in written] == [".md", ".html", ".json"]
    assert all("dataloader-no-workers" in p.read_text(encoding="utf-8") for p in written)


def test_run_keeps_the_status_and_the_output_of_the_command(home: Path, tmp_path: Path) -> None:
    saved = tmp_path / "d.json"
    done = advisor(home, "run", "--out", saved, "--", sys.executable, "-c", "print('mine'); raise SystemExit(7)")

    assert done.returncode == 7
    assert done.stdout == "mine\n"
    assert json.loads(saved.read_text())["profile"]["subject"].endswith("raise SystemExit(7)'")


def test_rules_explain_and_check(home: Path) -> None:
    assert "dataloader-no-workers" in advisor(home, "rules").stdout
    assert "Why it matters" in advisor(home, "explain", "dataloader-no-workers").stdout
    assert "影响" in advisor(home, "explain", "dataloader-no-workers", "--lang", "zh-Hans").stdout
    assert advisor(home, "check").returncode == 0


def test_a_fact_is_explained_by_its_formula_and_with_the_numbers_of_a_run(home: Path, tmp_path: Path) -> None:
    name, saved = "derived.dataloader.workers.needed", tmp_path / "run.json"
    saved.write_text(json.dumps({"facts": {"ml.dataloader.batch.time": 0.6, "ml.step.compute.time": 0.1}}))

    general = advisor(home, "explain", name).stdout
    assert "ceil(1.25 x batches per step x load time of a batch" in general
    assert "ml.dataloader.batch.time" in general
    assert "used where it is known" in general  # batches per step
    assert "dataloader-too-few-workers" in general
    assert "torch.utils.data" in general
    assert "计算方法" in advisor(home, "explain", name, "--lang", "zh-Hans").stdout

    own = advisor(home, "explain", name, "--profile", str(saved)).stdout
    assert f"{name} = 8" in own
    assert "ml.dataloader.batch.time = 600 ms" in own
    assert "ml.step.batches = unknown" in own


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["diagnose", "no-such-file.json"], "is not there"),
        (["diagnose", "{binary}"], "is binary data"),
        (["diagnose", "{list}"], "not a list"),
        (["diagnose", "{schema}"], "schema '9' is unknown"),
        (["diagnose", "{typed}"], "facts.ml.step.time"),
        (["diagnose", "--fail-on", "awful", "--seconds", "1"], "is not a severity"),
        (["ask", ""], "question is empty"),
        (["ask", "why\x07slow"], "control character"),
        (["ask", "slow", "--lang", "fr"], "is not a language"),
        (["ask", "--batch", "{list}x"], "is not a file"),
        (["report", "{list}"], "not a list"),
        (["report", "{good}", "--format", "docx"], "is not a report format"),
        (["explain", "no-such-rule"], "no rule is named"),
        (["explain", "no.such.fact"], "no fact is named"),
        (["explain", "dataloader-no-workers", "--profile", "{good}"], "goes with the name of a fact"),
        (["run", "--", "no-such-command-here"], "no-such-command-here"),
        (["check", "no-such-folder"], "is not a folder"),
    ],
)
def test_bad_input_gets_one_sentence_and_status_2(home: Path, tmp_path: Path, args: list[str], said: str) -> None:
    files = {
        "binary": b"\x00\xff\xfe",
        "list": b"[1, 2]",
        "schema": b'{"schema": 9, "profile": {}}',
        "typed": b'{"facts": {"ml.step.time": [1]}}',
        "good": json.dumps(STARVED).encode(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    done = advisor(home, *[a.replace("{", f"{tmp_path}/").replace("}", "") for a in args])

    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_store_that_cannot_be_written_costs_a_warning_only(tmp_path: Path, profile: Path) -> None:
    (tmp_path / "blocked").write_text("x")

    done = advisor(tmp_path / "blocked", "diagnose", profile)

    assert done.returncode == 0
    assert "not stored" in done.stderr
    assert "Data loading runs in the training process" in done.stdout


def test_without_a_store_questions_are_still_answered(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("x")

    done = advisor(tmp_path / "blocked", "ask", "why is my training slow?")

    assert done.returncode == 0
    assert "advisor run -- python train.py" in done.stdout


def test_artefacts_come_on_the_standard_input_too(home: Path) -> None:
    log = "[ 12.000001] NVRM: Xid (PCI:0000:3b:00): 79, pid=1, name=python, GPU has fallen off the bus.\n"
    done = subprocess.run(
        [sys.executable, "-m", "advisor", "diagnose", "-"], input=log, capture_output=True, text=True, check=False,
        env={**os.environ, "ADVISOR_DATA": str(home)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "xid-critical" in done.stdout
