"""The knowledge base: the one that ships is proven, and a broken one is refused with every problem's place."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from advisor.cli import main
from advisor.derive import FORMULAS
from advisor.errors import InputError, KnowledgeError
from advisor.kb import default_folder, load
from advisor.kb.gate import check
from advisor.kb.scaffold import new_rule
from advisor.pipeline import Advisor
from advisor.serve import create_app

ROOT = Path(__file__).parents[1]
RULE = "rules/data-loading/dataloader-no-workers.yaml"
SEED = [f"seed-p{i}" for i in range(1, 13)] + [f"seed-faq-{n}.{m}" for n in range(1, 5) for m in range(1, 6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the knowledge base that a test may break."""
    target = tmp_path / "knowledge"
    shutil.copytree(default_folder(), target)
    return target


@pytest.fixture
def edit(folder: Path) -> Callable[[str, str, str], int]:
    """Replace text in a file; returns the line where the change begins."""

    def change(name: str, old: str, new: str) -> int:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text, old
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return text[: text.index(old)].count("\n") + 1

    return change


def test_the_knowledge_base_has_no_problem() -> None:
    knowledge, cases, problems = check()

    assert problems == []
    assert len(knowledge.rules) >= 190
    assert sum(r.status == "stable" for r in knowledge.rules.values()) >= 120
    assert cases >= 5 * len(knowledge.rules)


def test_every_statement_of_the_seed_is_covered() -> None:
    knowledge = load()
    claimed = {s for rule in knowledge.rules.values() for s in rule.seed}
    claimed |= {s for faq in knowledge.faqs.values() for s in faq.seed}
    claimed |= {item.id for faq in knowledge.faqs.values() for item in faq.items}

    assert [s for s in SEED if s not in claimed] == []


def test_the_faq_corrects_gradient_accumulation() -> None:
    items = {item.id: item for faq in load().faqs.values() for item in faq.items}
    correction = items["seed-faq-2.4"].correction

    assert correction is not None
    assert "backward" in correction.en
    assert "反向" in correction.zh


BROKEN = [
    ("topic: dataloader_bottleneck", "topic: dataloader_bottleneck\ncolour: red", 1, "colour: unknown key"),
    ("topic: dataloader_bottleneck", "topic: no_such_topic", 0, "unknown topic 'no_such_topic'"),
    ("severity: serious", "severity: terrible", 0, "severity: Input should be"),
    ("confidence: high", "confidence: 3", 0, "confidence: Input should be"),
    ("gain: ml.step.data_wait.exposed.fraction", "gain: ml.step.time", 0, "is not a share"),
    ("explains: [input-bound,", "explains: [no-such-rule,", 0, "unknown rule 'no-such-rule'"),
    ("references: [torch-utils-data", "references: [no-such-source", 0, "unknown reference 'no-such-source'"),
    ("config.dataloader.num_workers == 0}", "config.dataloader.number == 0}", 0, "unknown fact"),
    ("config.dataloader.num_workers == 0}", "config.dataloader.num_workers == none}", 0, "is not a number"),
    ("config.dataloader.num_workers == 0}", "config.dataloader.num_workers ==}", 0, "is not a condition"),
    ("effort: minutes", "effort: minutes\n    effort: hours", 1, "is given twice"),
]


@pytest.mark.parametrize(("old", "new", "below", "said"), BROKEN)
def test_a_defect_is_named_with_file_and_line(
    folder: Path, edit: Callable[[str, str, str], int], old: str, new: str, below: int, said: str
) -> None:
    line = edit(RULE, old, new) + below

    problems = check(folder).problems

    found = [p for p in problems if p.file == RULE and said in p.what]
    assert [p.line for p in found] == [line], [str(p) for p in problems]


ELSEWHERE = [
    ("facts.yaml", "  - name: run.phase\n", "  - name: run.phase\n    colour: red\n", 1, "colour: unknown key"),
    ("facts.yaml", "    better: lower\n", "    better: smaller\n", 0, "better: Input should be"),
    ("facts.yaml", "  - name: run.phase\n", "  - name: run.phase\n    better: lower\n", 1, "is no measured number"),
    ("facts.yaml", "    covers: [\n", "    covers: [no.such,\n", 0, "unknown fact 'no.such'"),
    ("facts.yaml", "  - name: run.phase\n", "  - name: run.phase\n    working: {en: x, zh: 甲}\n", 0, "by no formula"),
    (
        "facts.yaml",
        '    working: {en: "CPU time of a batch / (its wall time - its wait for a CPU)",',
        "    #",
        -5,
        "needs 'working:'",
    ),
    ("facts.yaml", "    sources: [torch-utils-data]", "    sources: [no-such-source]", 0, "'no-such-source'"),
    ("facts.yaml", "minutes: 1\n", "minutes: soon\n", 0, "minutes"),
    ("topics.yaml", "    group: hardware.compute\n", "    group: 7\n", 0, "group: Input should be"),
    ("references.yaml", "url: https://", "url: ftp://", 0, "url: String should match"),
    ("terms.yaml", "severity.minor: {en: minor,", "severity.minor: {de: gering,", 0, "severity.minor.de: unknown key"),
    ("faq/avoiding-out-of-memory.yaml", "references: [", "references: [no-such-source, ", 0, "'no-such-source'"),
    ("faq/avoiding-out-of-memory.yaml", "topics: [", "topics: [no_such_topic, ", 0, "'no_such_topic'"),
]


@pytest.mark.parametrize(("name", "old", "new", "below", "said"), ELSEWHERE)
def test_a_defect_in_any_other_file_is_named_too(
    folder: Path, edit: Callable[[str, str, str], int], name: str, old: str, new: str, below: int, said: str
) -> None:
    line = edit(name, old, new) + below

    found = [p for p in check(folder).problems if p.file == name and said in p.what]

    assert found, [str(p) for p in check(folder).problems]
    assert line in {p.line for p in found}


def test_a_measurement_promises_only_facts_that_the_collectors_give() -> None:
    folders = ("collect", "readers")
    code = "\n".join(p.read_text(encoding="utf-8") for f in folders for p in (ROOT / "advisor" / f).rglob("*.py"))
    composed = [re.escape(f) for f in re.findall(r'f"([a-z_.]+\{[^"]*)"', code)]
    patterns = [re.compile(re.sub(r"\\\{.*?\\\}", "([a-z_.]+)", p)) for p in composed]
    made_later = {f.name for f in FORMULAS} | {"run.duration", "ml.rank.step_time.spread", "ml.rank.data_wait.spread"}

    def given(fact: str) -> bool:
        parts = [found.groups() for p in patterns if (found := p.fullmatch(fact))]
        spelled = any(all(f'"{part}"' in code for part in groups) for groups in parts)
        return fact in made_later or f'"{fact}"' in code or spelled

    assert [f for m in load().measurements for f in sorted(m.covers) if not given(f)] == []
    assert not given("hw.gpu.mamf.ratio"), "the test can tell what no collector gives"


def test_every_term_exists_and_is_used() -> None:
    code = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "advisor").rglob("*.py"))
    named = set(re.findall(r"""["']([a-z_]+\.[a-z_.]+)["']""", code))
    composed = ("severity.", "confidence.", "effort.", "state.", "status.", "step.", "lede.", "decline.", "origin.",
                "fate.", "judgement.", "lack.", "social.")  # fmt: skip
    terms = set(load().terms)

    asked = set(re.findall(r"""(?:term\(|terms\[)f?["']([a-z_]+\.[a-z_]+)["']""", code))
    assert sorted(asked - terms) == []
    assert sorted(t for t in terms - named if not t.startswith(composed)) == []


def test_all_defects_are_reported_at_once(folder: Path, edit: Callable[[str, str, str], int]) -> None:
    edit(RULE, "topic: dataloader_bottleneck", "topic: nowhere")
    edit(RULE, "explains: [input-bound,", "explains: [no-such-rule,")
    extra = {
        "id": "never-cited",
        "title": "x",
        "url": "https://e.org",
        "publisher": "x",
        "used_for": "x",
        "read": "true",
    }
    entry = "\n    ".join(f"{key}: {value}" for key, value in extra.items())
    edit("references.yaml", "references:\n", f"references:\n  - {entry}\n")

    files = {(p.file, p.what.split(" ")[0]) for p in check(folder).problems}

    assert {(RULE, "unknown"), ("references.yaml", "reference")} <= files
    assert len([p for p in check(folder).problems if p.file == RULE]) == 2


def test_broken_yaml_in_two_files_is_two_problems(folder: Path, edit: Callable[[str, str, str], int]) -> None:
    edit(RULE, "topic: dataloader_bottleneck", "topic: [")
    edit("terms.yaml", "terms:", "terms: {")

    with pytest.raises(KnowledgeError) as caught:
        load(folder)

    assert {p.file for p in caught.value.problems} == {RULE, "terms.yaml"}


def test_a_case_that_does_not_hold_stops_the_gate(folder: Path, edit: Callable[[str, str, str], int]) -> None:
    edit(RULE, "ml.step.data_wait.exposed.fraction > 0.05,", "ml.step.data_wait.exposed.fraction > 0.5,")

    said = [p.what for p in check(folder).problems if p.file == RULE]

    assert any("expected matched, got cleared" in s for s in said)


def test_a_limit_without_origin_is_refused(folder: Path, edit: Callable[[str, str, str], int]) -> None:
    edit(RULE, "fraction > 0.05, from: kineto-tb-plugin-recommendation-rules}", "fraction > 0.05}")

    said = [p.what for p in check(folder).problems if p.file == RULE]

    assert any("needs 'from:' a reference or 'judgement:'" in s for s in said)


def test_two_rules_must_not_pull_one_knob_apart(folder: Path, edit: Callable[[str, str, str], int]) -> None:
    other = (folder / RULE).read_text(encoding="utf-8")
    other = other.replace("id: dataloader-no-workers", "id: the-opposite").replace("direction: up", "direction: down")
    other = other.replace("config.dataloader.num_workers == 0}", "config.dataloader.num_workers <= 0}")
    (folder / "rules/data-loading/the-opposite.yaml").write_text(other, encoding="utf-8")

    said = [p.what for p in check(folder).problems]

    assert any("pull DataLoader.num_workers in opposite directions" in s for s in said)


def test_two_rules_with_one_test_are_refused(folder: Path) -> None:
    twin = (folder / RULE).read_text(encoding="utf-8").replace("id: dataloader-no-workers", "id: the-twin")
    (folder / "rules/data-loading/the-twin.yaml").write_text(twin, encoding="utf-8")

    assert any("has the same test as" in p.what for p in check(folder).problems)


def test_a_condition_that_is_never_false_is_refused(folder: Path, edit: Callable[[str, str, str], int]) -> None:
    edit(
        RULE,
        "    - {is: config.dataloader.num_workers == 0}\n",
        "    - {is: config.dataloader.num_workers == 0}\n    - {is: ml.step.time >= 0}\n",
    )

    assert any("'ml.step.time >= 0' is false in no case" in p.what for p in check(folder).problems)


def test_a_topic_needs_a_rule_and_a_first_measurement(folder: Path) -> None:
    topics = folder / "topics.yaml"
    text = topics.read_text(encoding="utf-8")
    entry = "  - id: new_topic\n    group: x\n    title: {en: x, zh: 题}\n    definition: {en: x, zh: 题}\n"
    topics.write_text(text.rstrip() + "\n" + entry, encoding="utf-8")

    said = [p.what for p in check(folder).problems if p.file == "topics.yaml" and "new_topic" in p.what]

    assert len(said) == 2


def test_a_circle_of_explanations_is_refused(folder: Path, edit: Callable[[str, str, str], int]) -> None:
    path = folder / "rules/data-loading/input-bound.yaml"
    text = path.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("explains:")]
    path.write_text("\n".join(["explains: [dataloader-no-workers]", *lines]) + "\n", encoding="utf-8")

    assert any("explains itself" in p.what for p in check(folder).problems)


def test_anchors_are_refused(folder: Path, edit: Callable[[str, str, str], int]) -> None:
    edit(RULE, "seed: [", "note: &anchor\nseed: [")

    assert any("anchors and aliases" in p.what for p in check(folder).problems)


def test_a_scaffolded_rule_passes_the_gate(folder: Path) -> None:
    path = new_rule("a-new-bottleneck", "cpu", "cpu_bound", folder)

    knowledge, _, problems = check(folder)

    assert path.name == "a-new-bottleneck.yaml"
    assert problems == []
    assert knowledge.rules["a-new-bottleneck"].status == "experimental"


TOPIC = "dataloader_bottleneck"
FILLED = {
    "moderate": "serious",
    "Name the bad state, not the fix": "The quokka pauses the loader",
    "写出坏的状态，而不是修复方法": "短尾矮袋鼠让加载停顿",
    "is: ml.step.data_wait.fraction > 0.05": "is: ml.step.data_wait.fraction > 0.3",
    "why here; or from: a reference id": "a third of the step is worth a look",
    " of a step ...": " of a step waits for the quokka.",
    " ……": " 在等短尾矮袋鼠。",
    "ml.step.data_wait.fraction: 0.05": "ml.step.data_wait.fraction: 0.3",
}


def test_a_new_rule_is_one_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scaffold it, fill it, and every face has it: the list, its page, a diagnosis, an answer."""
    monkeypatch.setenv("ADVISOR_KNOWLEDGE", str(folder))
    monkeypatch.setenv("ADVISOR_DATA", str(tmp_path))

    def advisor(*argv: str) -> str:
        with pytest.raises(SystemExit) as done:
            main(argv)
        assert done.value.code == 0
        return capsys.readouterr().out

    before = {p: p.read_bytes() for p in folder.rglob("*.yaml")}

    path = Path(advisor("new-rule", "quokka-pauses-loader", "--area", "data-loading", "--topic", TOPIC).strip())
    text = path.read_text(encoding="utf-8")
    for old, new in FILLED.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    advisor("check")
    assert "quokka-pauses-loader" in advisor("rules")
    assert "短尾矮袋鼠让加载停顿" in advisor("explain", "quokka-pauses-loader", "--lang", "zh-Hans")

    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"facts": {"run.phase": "training", "ml.step.data_wait.fraction": 0.6}}))
    found = {f["rule"]: f for f in json.loads(advisor("diagnose", str(profile), "--json"))["findings"]}
    assert found["quokka-pauses-loader"]["severity"] == "serious"
    with TestClient(create_app(Advisor()), base_url="http://127.0.0.1:8321") as client:
        assert "The quokka pauses the loader" in client.get("/rules/quokka-pauses-loader").text
        assert "quokka-pauses-loader" in client.get("/rules").text
    assert {p: p.read_bytes() for p in folder.rglob("*.yaml") if p != path} == before


@pytest.mark.parametrize("name", ["Upper-Case", "with space", "../escape", "dataloader-no-workers"])
def test_a_rule_needs_a_new_kebab_case_name(folder: Path, name: str) -> None:
    with pytest.raises(InputError):
        new_rule(name, "cpu", "cpu_bound", folder)
