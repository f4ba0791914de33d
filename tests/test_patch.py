"""The patch of a remedy: what it looks like, that it applies, and when there is none."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor.blocks import diagnosis_blocks, to_markdown
from advisor.pipeline import Advisor
from advisor.readers.patch import propose
from advisor.report.terminal import print_blocks

KNOB = "DataLoader.num_workers"
ROOT = Path(__file__).parents[1]
# ruff: noqa: E501 - a call before and after reads best side by side
LAYOUTS = [
    ("DataLoader(ds)", "DataLoader(ds, num_workers=6)"),
    ("x = DataLoader()", "x = DataLoader(num_workers=6)"),
    ("DataLoader(ds, 4,)", "DataLoader(ds, 4, num_workers=6,)"),
    ("DataLoader((ds))", "DataLoader((ds), num_workers=6)"),
    ("DataLoader(ds, num_workers=0)", "DataLoader(ds, num_workers=6)"),
    ("DataLoader(ds, num_workers = 0, shuffle=True)", "DataLoader(ds, num_workers = 6, shuffle=True)"),
    ("torch.utils.data.DataLoader(ds)", "torch.utils.data.DataLoader(ds, num_workers=6)"),
    ("DataLoader('é', batch_size=4); y = 'ü'", "DataLoader('é', batch_size=4, num_workers=6); y = 'ü'"),
    ("f(DataLoader(ds), DataLoaders(x))", "f(DataLoader(ds, num_workers=6), DataLoaders(x))"),
    ("DataLoader(\n    ds,\n    batch_size=4,\n)\n", "DataLoader(\n    ds,\n    batch_size=4,\n    num_workers=6,\n)\n"),
    ("DataLoader(\n    ds,\n    b=4  # why\n)\n", "DataLoader(\n    ds,\n    b=4,  # why\n    num_workers=6\n)\n"),
    ("DataLoader(\n    ds,\n    b=4,  # why\n    # c\n)\n", "DataLoader(\n    ds,\n    b=4,  # why\n    num_workers=6,\n    # c\n)\n"),
    ("DataLoader(ds,\n           b=4)", "DataLoader(ds,\n           b=4,\n           num_workers=6)"),
    ("DataLoader(\n    ds, shuffle=True\n)", "DataLoader(\n    ds, shuffle=True, num_workers=6\n)"),
    ("DataLoader(\n\tds,\n\tb=1,\n)", "DataLoader(\n\tds,\n\tb=1,\n\tnum_workers=6,\n)"),
    ("DataLoader(ds,\r\n   b=3)\r\ny = 1\r\n", "DataLoader(ds,\r\n   b=3,\r\n   num_workers=6)\r\ny = 1\r\n"),
    ("DataLoader(ds,\n  collate_fn=f(a,\n     b),\n)", "DataLoader(ds,\n  collate_fn=f(a,\n     b),\n  num_workers=6,\n)"),
    ("DataLoader(\n    ds,\n    collate_fn=lambda b: (b, ')'))", "DataLoader(\n    ds,\n    collate_fn=lambda b: (b, ')'),\n    num_workers=6)"),
    ('s = """\n"""; DataLoader(ds)', 's = """\n"""; DataLoader(ds, num_workers=6)'),
    ("TrainingArguments('out', lr=3)", "TrainingArguments('out', lr=3, dataloader_num_workers=6)"),
]  # fmt: skip
NONE = [
    "DataLoader(ds, **options)",
    "DataLoader(*everything)",
    "DataLoader(ds, num_workers=n)",
    "DataLoader(ds, num_workers=args.workers)",
    "DataLoader(ds, num_workers=6)",
    "DataLoader(a, b, c, d, e, 3)",
    "a = DataLoader(x); b = DataLoader(y)",
    "DataLoader(x for x in y)",
    "loader = make(ds)",
    "DataLoader = 3",
    "DataLoader(ds",
    "",
]


def line_of(text: str, word: str = "DataLoader(") -> int:
    return text[: text.index(word)].count("\n") + 1 if word in text else 1


def write(folder: Path, text: str) -> str:
    (folder / "train.py").write_bytes(text.encode())
    return f"train.py:{line_of(text)}"


def applied(old: str, diff: str) -> str:
    """What the one hunk of a diff makes of a text, every context line checked."""
    header, *body = diff.split("\n")[2:-1]
    start = int(header.split()[1].split(",")[0].lstrip("-")) - 1
    lines = old.split("\n")
    before = [x[1:] for x in body if x[:1] in "- "]
    assert lines[start : start + len(before)] == before
    lines[start : start + len(before)] = [x[1:] for x in body if x[:1] in "+ "]
    return "\n".join(lines)


@pytest.mark.parametrize(("before", "after"), LAYOUTS)
def test_it_applies_and_changes_nothing_else(tmp_path: Path, before: str, after: str) -> None:
    diff = propose(write(tmp_path, before), KNOB, "6", tmp_path)
    assert diff is not None
    subprocess.run(["patch", "-p1", "--binary", "-s"], input=diff.encode(), cwd=tmp_path, check=True)
    assert (tmp_path / "train.py").read_bytes() == after.encode()
    changed = [x for x in diff.splitlines() if x[:1] in "+-" and x[:3] not in ("+++", "---")]
    assert 1 <= len(changed) <= 3


@pytest.mark.parametrize("text", NONE)
def test_what_is_not_sure_gets_no_patch(tmp_path: Path, text: str) -> None:
    assert propose(write(tmp_path, text), KNOB, "6", tmp_path) is None


def test_places_that_are_not_the_users_or_not_there(tmp_path: Path) -> None:
    text = "DataLoader(ds)\n"
    write(tmp_path, text)
    library = tmp_path / "site-packages"
    library.mkdir()
    (library / "trainer.py").write_text(text)
    (tmp_path / "notes.txt").write_text(text)
    (tmp_path / "latin.py").write_bytes(b"# \xe9\nDataLoader(ds)\n")
    places = ("gone.py:1", "train.py:9", "train.py", ":1", "train.py:x", "notes.txt:1", "latin.py:2", ".:1", "")
    for where in (*places, "site-packages/trainer.py:1"):
        assert propose(where, KNOB, "6", tmp_path) is None, where
    assert propose(f"{tmp_path}/train.py:1", KNOB, "6", Path("/")) is not None


@pytest.mark.parametrize("to", ["", "n", "6; x", "[1]", "6)", "{derived.x}"])
def test_only_a_literal_is_set(tmp_path: Path, to: str) -> None:
    assert propose(write(tmp_path, "DataLoader(ds)"), KNOB, to, tmp_path) is None


def test_results_are_not_changed_by_a_patch(tmp_path: Path) -> None:
    where = write(tmp_path, "DataLoader(ds, batch_size=1)")
    assert propose(where, "DataLoader.batch_size", "64", tmp_path) is None
    assert propose(where, "DataLoader.pin_memory", "True", tmp_path) is not None
    assert propose(where, "torch.compile", "True", tmp_path) is None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.sampled_from(["ds", "b=1", "c=f(1, 2)", "d='é,)'", "e=lambda x: x", "g=[1,\n 2]"]), unique=True),
    gap=st.sampled_from([" ", "", "\n    ", " # why, not\n  ", "\n\n"]),
    end=st.sampled_from(["", ",", "\n", ",\n", " # last\n", ",  # last)\n"]),
)  # fmt: skip
def test_any_layout_keeps_its_meaning_or_gets_none(tmp_path: Path, parts: list[str], gap: str, end: str) -> None:
    ordered = sorted(parts, key=lambda p: "=" in p)
    text = f"x = DataLoader({gap}{f',{gap}'.join(ordered)}{end if parts else ''})\n"
    diff = propose(write(tmp_path, text), KNOB, "6", tmp_path)
    try:
        call = ast.parse(text).body[0].value  # type: ignore[attr-defined]
    except SyntaxError:
        assert diff is None
        return
    assert diff is not None, text
    new = applied(text, diff)
    call.keywords.append(ast.keyword("num_workers", ast.Constant(6)))
    assert ast.dump(ast.parse(new).body[0].value) == ast.dump(call)  # type: ignore[attr-defined]


# --- in a diagnosis -------------------------------------------------------------------


def test_a_watched_run_shows_the_diff_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    source = (ROOT / "examples/starved_loader.py").read_text(encoding="utf-8")
    advisor = Advisor(data=tmp_path)
    diagnosis, status = advisor.watch([sys.executable, "examples/starved_loader.py", "--steps", "25"])
    assert status == 0
    document = advisor.diagnosis_document(diagnosis)
    finding = next(f for f in document["findings"] if f["rule"] == "dataloader-no-workers")
    remedy = finding["remedies"][0]
    patch = remedy["patch"]
    assert patch.startswith("--- a/examples/starved_loader.py\n+++ b/examples/starved_loader.py\n")
    assert f"drop_last=True, num_workers={remedy['to']})" in patch
    assert (ROOT / "examples/starved_loader.py").read_text(encoding="utf-8") == source, "proposed, never applied"
    assert all(r["patch"] is None for r in finding["remedies"][1:])
    assert not diagnosis.profile.contradictions
    assert any(s.kind == "script" and s.state == "ok" for s in diagnosis.profile.sources)
    assert not any(f.static for f in diagnosis.findings)

    advisor.save(diagnosis)
    again = advisor.stored(diagnosis.profile.id)
    assert again.findings[0].advice[0].patch == patch
    blocks, shown = diagnosis_blocks(again, advisor.knowledge, "en"), patch.rstrip("\n")
    assert f"```diff\n{shown}\n```" in to_markdown(blocks)
    assert '<div class="code diff"><pre><code>--- a/examples' in advisor.report(again, "html", "zh-Hans")
    print_blocks(blocks, sys.stdout)
    assert shown in capsys.readouterr().out


def test_a_document_makes_nothing_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("DataLoader(ds, pin_memory=False)\n")
    fact = {"value": False, "origin": "training hook", "where": f"{tmp_path}/train.py:1"}
    facts = {"run.phase": "training", "run.gpu.used": True, "config.dataloader.pin_memory": fact}
    advisor = Advisor(data=tmp_path)

    def patches(*sent: object) -> set[str | None]:
        found = advisor.diagnose({"facts": facts, "profile": {"facts": facts}, "findings": list(sent)})
        rule = next(f for f in found.findings if f.rule.id == "pin-memory-off")
        return {a.patch for a in rule.advice if a.remedy.knob}

    def held(patch: object, to: object = "True") -> dict[str, object]:
        return {"rule": "pin-memory-off", "remedies": [{"id": name, "to": to, "patch": patch}]}

    advice = next(r for r in advisor.knowledge.rules["pin-memory-off"].remedies if r.knob)
    name = advice.id
    assert patches() == {None}
    assert patches(held("--- a\n+++ b\n")) == {"--- a\n+++ b\n"}
    for odd in (
        held("rm -rf"),
        held("--- " + "x" * 9000),
        held(3),
        held("--- a", "False"),
        held("--- a", []),
        3,
        {"rule": []},
    ):
        assert patches(odd) == {None}


def test_a_script_alone_is_diagnosed_and_says_that_nothing_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(
        "import torch\nfrom torch.utils.data import DataLoader\nloader = DataLoader(ds)\nfor x in loader:\n"
        "    loss = model(x.cuda())\n    loss.backward()\n    opt.step()\n    total += loss\n"
    )
    advisor = Advisor(data=tmp_path)
    diagnosis = advisor.diagnose_file(Path("train.py"))
    assert diagnosis.verdict == "inconclusive"
    assert diagnosis.profile.unmeasured
    assert "Nothing was measured" in diagnosis.headline.en
    assert {f.rule.id for f in diagnosis.findings} == {"loss-graph-kept", "pin-memory-off"}
    assert all(f.static and f.confidence == "low" for f in diagnosis.findings)
    assert any(n.command.startswith("advisor run") for n in diagnosis.next_measurements)
    text = advisor.report(diagnosis, "md", "en")
    assert "+loader = DataLoader(ds, pin_memory=True)" in text
    assert "not measured" in text
    assert text.count("## The script keeps the loss with its graph") == 1
