"""`advisor doctor`: what it says of a source is what the source says itself, and the rules it names really need it."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from advisor import kb
from advisor.collect import access, doctor
from advisor.collect.sampler import default_collectors, sample
from advisor.derive import FORMULAS
from advisor.engine import Engine, blinded, decidable
from advisor.engine.blind import closure
from advisor.pipeline import Advisor
from advisor.report.doctor import print_doctor

ROOT = Path(__file__).parents[1]
KNOWLEDGE = kb.load()
GIVEN = {
    fact: owner
    for fact, owner in doctor.owners(KNOWLEDGE.facts).items()
    if fact in {f for m in KNOWLEDGE.measurements if m.live for f in m.covers} or owner in ("probes", "torch")
}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return Advisor(data=tmp_path_factory.mktemp("data")).doctor(sys.executable)


# --- which source gives a fact, and which rules need it ---


def test_every_collector_has_words_and_gives_the_facts_that_doctor_says() -> None:
    rows = {(known.kind, known.origin): known.id for known in doctor.SOURCES}
    assert [c.origin for c in default_collectors() if (c.kind, c.origin) not in rows] == []

    for reading in (r for r in sample(0.6, os.getpid()) if r.source.origin != "py-spy"):
        mine = rows[reading.source.kind, reading.source.origin]
        named = doctor.owners(f.name for f in reading.facts)
        assert {name: owner for name, owner in named.items() if owner != mine} == {}
        assert len(named) == len(reading.facts)


def test_every_promised_fact_that_no_formula_makes_has_a_source() -> None:
    promised = (
        {f for m in KNOWLEDGE.measurements if m.live for f in m.covers} - {f.name for f in FORMULAS} - {"run.duration"}
    )
    promised = {f for f in promised if not f.startswith("code.")}
    assert sorted(promised - GIVEN.keys()) == []


def matched_case(rule: str) -> dict[str, Any]:
    (path,) = (ROOT / "knowledge/rules").glob(f"*/{rule}.yaml")
    cases = yaml.safe_load(path.read_text(encoding="utf-8"))["cases"]
    facts: dict[str, Any] = next(c["facts"] for c in cases if c["expect"] == "matched")
    return facts


def test_a_blinded_rule_cannot_match_once_the_facts_of_the_source_are_gone() -> None:
    engine = Engine(KNOWLEDGE)
    blind = blinded(KNOWLEDGE, GIVEN)
    assert {"cgroup-cpu-throttled"} <= blind["cgroup"]
    assert {"dataloader-no-workers"} <= blind["hook"]
    assert {"thermal-throttle"} <= blind["gpu"]
    assert {"storage-rate-reached"} <= blind["probes"]
    direct = {f: o for f, o in GIVEN.items() if f not in {x.name for x in FORMULAS}}
    for source, rules in blind.items():
        left = closure(f for f, o in direct.items() if o != source)
        for rule in rules:
            facts = matched_case(rule)
            outcomes = {m.rule.id: m.trace.outcome for m in engine.match({k: v for k, v in facts.items() if k in left})}
            assert outcomes[rule] in ("incomplete", "inapplicable"), (source, rule)


def test_a_rule_that_needs_a_trace_is_nobodys() -> None:
    everyones = set().union(*blinded(KNOWLEDGE, GIVEN).values())
    assert "attention-unfused" in KNOWLEDGE.rules
    assert "attention-unfused" not in everyones
    assert everyones <= decidable(KNOWLEDGE, GIVEN)


# --- permissions ---


def tree(folder: Path, **files: str) -> str:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


NOBODY, ROOT_STATUS = "CapEff:\t0000000000000000\n", "CapEff:\t000001ffffffffff\n"


@pytest.mark.parametrize(
    ("ask", "path", "text", "capabilities", "said"),
    [
        (access.ptrace, "sys__kernel__yama__ptrace_scope", "1\n", NOBODY, "ptrace_scope is 1"),
        (access.ptrace, "sys__kernel__yama__ptrace_scope", "3\n", ROOT_STATUS, "ptrace_scope is 3"),
        (access.perf, "sys__kernel__perf_event_paranoid", "2\n", NOBODY, "perf_event_paranoid is 2"),
        (access.gpu_counters, "driver__nvidia__params", "RmProfilingAdminOnly: 1\n", NOBODY, "administrators only"),
    ],
)
def test_a_permission_that_is_missing_is_denied(
    ask: Any, path: str, text: str, capabilities: str, said: str, tmp_path: Path
) -> None:
    proc = tree(tmp_path, **{path: text, "self__status": capabilities})
    with pytest.raises(PermissionError, match=said):
        ask(proc)


@pytest.mark.parametrize(
    ("ask", "path", "text", "capabilities"),
    [
        (access.ptrace, "sys__kernel__yama__ptrace_scope", "1\n", ROOT_STATUS),
        (access.ptrace, "other", "", NOBODY),
        (access.perf, "sys__kernel__perf_event_paranoid", "3\n", ROOT_STATUS),
        (access.perf, "sys__kernel__perf_event_paranoid", "1\n", NOBODY),
        (access.gpu_counters, "driver__nvidia__params", "RmProfilingAdminOnly: 0\n", NOBODY),
    ],
)
def test_a_permission_that_is_there_is_not_denied(
    ask: Any, path: str, text: str, capabilities: str, tmp_path: Path
) -> None:
    assert ask(tree(tmp_path, **{path: text, "self__status": capabilities}))


def test_a_gpu_is_seen_on_the_bus_without_a_driver(tmp_path: Path) -> None:
    bus = "bus__pci__devices__0000:01:00.0__"
    assert not access.gpu_on_bus(tree(tmp_path / "a", **{f"{bus}vendor": "0x8086\n", f"{bus}class": "0x030000\n"}))
    assert not access.gpu_on_bus(tree(tmp_path / "b", **{f"{bus}vendor": "0x10de\n", f"{bus}class": "0x040300\n"}))
    assert access.gpu_on_bus(tree(tmp_path / "c", **{f"{bus}vendor": "0x10de\n", f"{bus}class": "0x030200\n"}))


def test_every_way_is_for_a_source_and_has_words() -> None:
    names = {known.id for known in doctor.SOURCES}
    ways = [(name, state, doctor._way(name, state)) for name in names for state in ("absent", "denied")]
    said = {way.said for _, _, way in ways if way}
    assert said <= KNOWLEDGE.terms.keys()
    assert {name for name, state, way in ways if state == "denied" and way} >= {
        "kernel_log",
        "gpu_counters",
        "foreign",
        "ptrace",
        "perf",
    }


AS_NOBODY = """
import json, os, tempfile
from advisor.collect import doctor
folder = tempfile.mkdtemp()
os.chmod(folder, 0o777)
tempfile.tempdir = folder
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(json.dumps({s.id: [s.state, s.note, s.way.command if s.way else ""] for s in doctor.examine()}))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become nobody")
def test_nobody_is_told_what_is_denied_and_how_to_allow_it() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", AS_NOBODY], capture_output=True, text=True, env=env, check=False)
    seen = json.loads(done.stdout.splitlines()[-1])

    assert seen["host"][0] == seen["disk"][0] == seen["process"][0] == "ok"
    state, note, command = seen["foreign"]
    assert (state, "other users" in note) == ("denied", True)
    assert command in ("sudo -u USER advisor diagnose --pid PID", "docker run --pid=host --cap-add SYS_PTRACE ...")
    paranoid = Path("/proc/sys/kernel/perf_event_paranoid")
    if paranoid.exists():
        assert seen["perf"][0] == ("denied" if int(paranoid.read_text()) > 1 else "ok")


# --- what a person reads ---


def test_this_machine_is_described(document: dict[str, Any]) -> None:
    sources = {s["id"]: s for s in document["sources"]}
    assert len(sources) == len(document["sources"])
    assert sources["host"]["state"] == "ok"
    assert sources["hook"]["state"] == "ok"
    assert "torch" in sources["torch"]["note"]
    lost = {r for s in document["sources"] if s["state"] != "ok" for r in s["rules"]}
    assert document["rules"]["here"] <= document["rules"]["live"] - len(lost)
    assert document["rules"]["live"] <= document["rules"]["all"] == len(KNOWLEDGE.rules)
    assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize("lang", ["en", "zh-Hans", "zh-Hant"])
def test_the_page_names_every_source_with_its_way(document: dict[str, Any], lang: Any) -> None:
    out = io.StringIO()
    made_up = {
        "id": "gpu",
        "label": {"en": "Denied thing", "zh": "被拒之物"},
        "origin": "x",
        "state": "denied",
        "note": "the reason",
        "way": {"en": "Allow it.", "zh": "放行。", "command": "sudo allow --it"},
        "rules": ["a", "b", "c", "d", "e", "f"],
    }
    print_doctor({**document, "sources": [*document["sources"], made_up]}, KNOWLEDGE, lang, out)
    text = re.sub(r"\s+", " ", out.getvalue())

    assert "the reason" in text
    assert "sudo allow --it" in text
    assert "a, b, c, d " in text
    assert ("and 2 more" if lang == "en" else "另有 2 ") in text
    for source in document["sources"]:
        if lang != "zh-Hant":
            assert source["label"]["en" if lang == "en" else "zh"] in text
    if lang == "en":
        assert not re.search(r"[\u3400-\u9fff]", text)
    else:
        assert "Permission denied" not in text


def test_a_python_that_does_not_load_the_hook_is_told(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(FileNotFoundError, match="does not load"):
        access.hook(str(python))
    assert "loads it" in access.hook(sys.executable)


def test_the_command_prints_json_and_succeeds(tmp_path: Path) -> None:
    env = {**os.environ, "ADVISOR_DATA": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "advisor", "doctor", "--json", "--python", "no-such-python"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)
    states = {s["id"]: s for s in json.loads(done.stdout)["sources"]}

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert states["torch"]["state"] == states["hook"]["state"] == "absent"
    assert "--python" in states["hook"]["way"]["command"]
