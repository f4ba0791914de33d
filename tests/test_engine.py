"""Matching, folding, ranking, verdicts: on small rules made here, and on the knowledge base that ships."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.condition import parse
from advisor.derive import with_derived
from advisor.engine import Engine, diagnose
from advisor.kb import default_folder
from advisor.kb.build import Loader
from advisor.models import Condition, Diagnosis, Rule, Text, When
from advisor.profile import build, restore
from advisor.readers.document import read_document
from advisor.report.document import diagnosis_document

LOADER = Loader(default_folder())
KNOWLEDGE = LOADER.knowledge()
CASES = LOADER.cases()
ENGINE = Engine(KNOWLEDGE)
BASE = KNOWLEDGE.rules["dataloader-no-workers"]


def profile_of(facts: dict[str, Any]) -> Any:
    return restore(read_document({"subject": "train.py", "facts": facts}), KNOWLEDGE.facts)


def diagnosed(facts: dict[str, Any], engine: Engine = ENGINE) -> Diagnosis:
    return diagnose(profile_of(facts), engine)


STARVED = {
    "run.phase": "training",
    "run.gpu.used": False,
    "ml.step.time": 0.788,
    "ml.step.count": 43,
    "ml.step.compute.time": 0.235,
    "ml.step.data_wait.exposed.fraction": 0.7,
    "ml.step.optimizer.fraction": 0.01,
    "ml.dataloader.batch.time": 0.55,
    "ml.dataloader.batch.cpu_time": 0.55,
    "config.dataloader.num_workers": 0,
    "system.cpu.utilization": 0.6,
    "system.io.stall.fraction": 0.0,
    "container.cpuset.count": 8,
    "system.cpu.logical.count": 8,
}


def rule(name: str, when: str, **changes: Any) -> Rule:
    return dataclasses.replace(
        BASE, id=name, applies=(), when=When(all=(parse(when),)), explains=(), gain=None, **changes
    )


def engine_of(*rules: Rule) -> Engine:
    return Engine(dataclasses.replace(KNOWLEDGE, rules={r.id: r for r in rules}))


def test_a_starved_loader_is_named_first_with_its_numbers() -> None:
    diagnosis = diagnosed(STARVED)
    top = diagnosis.findings[0]

    assert diagnosis.verdict == "bottleneck"
    assert (top.rule.id, top.rule.topic) == ("dataloader-no-workers", "dataloader_bottleneck")
    assert top.gain is not None
    assert (top.gain.share, top.gain.speedup_at_most) == (0.7, 3.33)
    assert "70 %" in top.text.en
    assert "70%" in top.text.zh
    assert "input-bound" in top.explains
    assert top.advice[0].to == "3"
    assert top.advice[0].setting == "DataLoader(..., num_workers=3, persistent_workers=True)"
    assert len([a for a in top.advice if a.remedy.knob == "DataLoader.num_workers"]) == 1


def test_workers_respect_the_quota_and_the_ranks_on_the_host() -> None:
    tight = diagnosed({**STARVED, "container.cpu.limit": 2.0})
    shared = diagnosed({**STARVED, "config.distributed.local_world_size": 4})

    assert tight.findings[0].advice[0].to == "1"
    assert shared.findings[0].advice[0].to == "1"
    assert "would take 3" in tight.findings[0].advice[0].do.en


def test_a_fast_loader_without_workers_is_healthy() -> None:
    diagnosis = diagnosed({**STARVED, "ml.step.data_wait.exposed.fraction": 0.01})

    assert diagnosis.verdict == "healthy"
    assert diagnosis.findings == ()
    assert "dataloader-no-workers" in diagnosis.cleared
    assert "dataloader-no-workers" in {n.rule for n in diagnosis.near_misses}


def test_too_little_measured_is_inconclusive_and_says_what_to_run() -> None:
    diagnosis = diagnosed({"system.cpu.utilization": 0.2})

    assert diagnosis.verdict == "inconclusive"
    assert diagnosis.next_measurements
    assert diagnosis.next_measurements[0].command.startswith("advisor run")
    missing = {i.rule: i.missing for i in diagnosis.incomplete}
    assert "run.phase" in missing["dataloader-no-workers"]


def test_every_rule_has_exactly_one_outcome() -> None:
    d = diagnosed(STARVED)
    folded = {r for f in d.findings for r in f.explains}
    outcomes = [f.rule.id for f in d.findings] + [i.rule for i in d.incomplete] + [*d.cleared, *d.inapplicable, *folded]

    assert sorted(outcomes) == sorted(KNOWLEDGE.rules)
    assert d.errors == ()


def test_explained_findings_fold_under_their_cause_through_levels() -> None:
    cause = rule("cause", "ml.step.time > 0.1")
    middle = rule("middle", "ml.step.time > 0.1")
    symptom = rule("symptom", "ml.step.time > 0.1")
    rules = (
        dataclasses.replace(cause, explains=("middle",)),
        dataclasses.replace(middle, explains=("symptom",)),
        symptom,
    )

    found = diagnosed(STARVED, engine_of(*rules)).findings

    assert [(f.rule.id, f.explains) for f in found] == [("cause", ("middle", "symptom"))]


def test_what_stops_a_run_comes_first_then_gain_confidence_severity_and_name_and_hints_come_last() -> None:
    share = "ml.step.data_wait.exposed.fraction"
    rules = (
        dataclasses.replace(rule("a-hint", "ml.step.time > 0.1", severity="minor", confidence="high"), gain=share),
        rule("d-severe", "ml.step.time > 0.1", severity="critical", confidence="medium"),
        dataclasses.replace(rule("e-gain", "ml.step.time > 0.1", severity="moderate", confidence="low"), gain=share),
        rule("b-sure", "ml.step.time > 0.1", severity="moderate", confidence="high"),
        rule("c-severe", "ml.step.time > 0.1", severity="serious", confidence="high"),
        rule("a-severe", "ml.step.time > 0.1", severity="serious", confidence="high"),
    )

    found = diagnosed(STARVED, engine_of(*rules)).findings

    assert [f.rule.id for f in found] == ["d-severe", "e-gain", "a-severe", "c-severe", "b-sure", "a-hint"]


def test_a_circle_of_explanations_hides_nothing() -> None:
    one = dataclasses.replace(rule("one", "ml.step.time > 0.1"), explains=("two",))
    two = dataclasses.replace(rule("two", "ml.step.time > 0.1"), explains=("three",))
    three = dataclasses.replace(rule("three", "ml.step.time > 0.1"), explains=("one", "three"))

    found = diagnosed(STARVED, engine_of(one, two, three))

    assert found.verdict == "bottleneck"
    assert {r for f in found.findings for r in (f.rule.id, *f.explains)} == {"one", "two", "three"}


def test_a_disagreement_about_the_divisor_lowers_the_confidence_too() -> None:
    fact = {"value": 0.788, "unit": "s", "origin": "hook"}
    facts = {**STARVED, "ml.step.time.p95": 1.9}
    document = {
        "facts": facts,
        "contradictions": [{"fact": "ml.step.time", "kept": fact, "other": {**fact, "value": 9}}],
    }
    ratio = engine_of(rule("ratio", "ml.step.time.p95 / ml.step.time > 2", confidence="high"))

    alike, apart = (
        diagnose(restore(read_document(d), KNOWLEDGE.facts), ratio).findings[0] for d in ({"facts": facts}, document)
    )

    assert (alike.confidence, apart.confidence) == ("high", "medium")
    assert "disagree" in apart.confidence_reason.en


def test_the_gain_comes_with_the_step_time_and_the_rate_that_it_would_give() -> None:
    gain = diagnosed({**STARVED, "ml.throughput.samples": 20.0}).findings[0].gain

    assert gain is not None
    assert [(e.fact, e.now, e.at_best) for e in gain.expected] == [
        ("ml.step.time", 0.788, 0.2364),
        ("ml.throughput.samples", 20.0, 66.6667),
    ]


def test_a_share_of_the_run_promises_no_step_time() -> None:
    share = dataclasses.replace(rule("r", "ml.step.time > 0.1"), gain="ml.evaluation.fraction")
    gain = diagnosed({**STARVED, "ml.evaluation.fraction": 0.5}, engine_of(share)).findings[0].gain

    assert gain is not None
    assert (gain.speedup_at_most, gain.expected) == (2.0, ())


def test_a_share_that_is_hidden_behind_other_work_is_no_gain() -> None:
    hidden = {**STARVED, "ml.step.data_wait.fraction": 0.6, "ml.step.data_wait.exposed.fraction": 0.005}

    assert diagnosed(hidden).findings == ()


def test_an_unmeasured_loss_ranks_between_a_small_and_a_large_measured_one() -> None:
    share = "ml.step.data_wait.exposed.fraction"
    loss = dataclasses.replace(rule("a-loss", "ml.step.time > 0.1", severity="serious"), gain=share)
    unknown = rule("b-unknown", "ml.step.time > 0.1", severity="serious")

    def order(wait: float) -> list[str]:
        return [f.rule.id for f in diagnosed({**STARVED, share: wait}, engine_of(loss, unknown)).findings]

    assert order(0.7) == ["a-loss", "b-unknown"]
    assert order(0.1) == ["b-unknown", "a-loss"]


def test_two_causes_that_fit_equally_are_rivals_and_the_measurement_that_decides_comes_first() -> None:
    share = "ml.step.data_wait.exposed.fraction"
    one = dataclasses.replace(rule("one", "ml.step.time > 0.1", confidence="medium"), gain=share)
    two = dataclasses.replace(
        rule("two", "ml.step.time > 0.1", confidence="medium"),
        when=When(any=(parse("ml.step.time > 0.1"), parse("probe.disk.read.rate < 1000"))),
        gain=share,
    )
    other = dataclasses.replace(rule("other", "ml.step.time > 0.1", confidence="medium"), gain="ml.padding.fraction")

    found = diagnosed({**STARVED, "ml.padding.fraction": 0.7}, engine_of(one, two, other))

    assert {f.rule.id: f.rivals for f in found.findings} == {"one": ("two",), "two": ("one",), "other": ()}
    assert set(found.next_measurements[0].rules) == {"one", "two"}
    assert "probe" in found.next_measurements[0].command


def test_without_a_measurement_that_decides_the_first_remedy_does() -> None:
    share = "ml.step.data_wait.exposed.fraction"
    rivals = [dataclasses.replace(rule(name, "ml.step.time > 0.1"), gain=share) for name in ("one", "two")]

    said = diagnosed(STARVED, engine_of(*rivals)).next_measurements[0]

    assert said.rules == ("one", "two")
    assert said.command == ""
    assert rivals[0].remedies[0].verify.text in said.why.en
    assert rivals[0].remedies[0].verify.text in said.why.zh


def test_what_a_person_may_know_is_asked() -> None:
    waiting = {k: v for k, v in STARVED.items() if not k.startswith(("config", "ml.dataloader"))}
    profile = restore(
        read_document(
            {
                "facts": {"run.phase": "training", **waiting},
                "sources": [{"kind": k, "origin": k, "state": "ok"} for k in ("training hook", "kernel log", "log")],
            }
        ),
        KNOWLEDGE.facts,
    )

    asked = {n.facts: n for n in diagnose(profile, ENGINE).next_measurements if n.question}

    workers = asked["config.dataloader.num_workers",]
    assert workers.question is not None
    assert "num_workers" in workers.question.en
    assert "num_workers" in workers.question.zh
    assert "dataloader-no-workers" in workers.rules


def test_healthy_needs_the_losses_measured_and_small() -> None:
    fine = {**STARVED, "ml.step.data_wait.exposed.fraction": 0.01, "run.gpu.used": True, "hw.gpu.utilization": 0.95}

    healthy = diagnosed(fine)
    idle = diagnosed({**fine, "hw.gpu.utilization": 0.85})
    blind = diagnosed({k: v for k, v in fine.items() if k != "hw.gpu.utilization"})

    assert [d.verdict for d in (healthy, idle, blind)] == ["healthy", "inconclusive", "inconclusive"]
    assert "95 %" in healthy.reason.en
    assert "95%" in healthy.reason.zh
    assert "15 %" in idle.reason.en
    assert "GPU utilisation" in blind.reason.en


def test_a_trace_of_a_busy_gpu_is_enough_to_be_healthy() -> None:
    trace = {
        "run.phase": "training",
        "run.gpu.used": True,
        "ml.step.time": 0.3,
        "ml.step.count": 30,
        "ml.step.data_wait.exposed.fraction": 0.01,
        "trace.gpu.idle.fraction": 0.04,
    }

    assert diagnosed(trace).verdict == "healthy"


def test_a_run_near_what_the_hardware_reaches_is_told_so() -> None:
    fine = {**STARVED, "ml.step.data_wait.exposed.fraction": 0.01, "derived.matmul.achieved.fraction": 0.81}
    slow = {**fine, "derived.matmul.achieved.fraction": 0.4}

    assert "81 %" in diagnosed(fine).headline.en
    assert "81%" in diagnosed(fine).headline.zh
    assert "%" not in diagnosed(slow).headline.en


def test_coverage_counts_sources_and_names_what_keeps_rules_open() -> None:
    document = {
        "facts": {"run.phase": "training", "system.cpu.utilization": 0.2},
        "sources": [
            {"kind": "host", "origin": "/proc", "state": "ok"},
            {"kind": "nvidia-smi", "origin": "NVML", "state": "absent"},
        ],
    }
    found = diagnose(restore(read_document(document), KNOWLEDGE.facts), ENGINE)

    assert found.coverage.en.startswith("1 of 2 sources read")
    named = {u.lack: u.rules for u in found.unjudged}
    assert "a profiler trace" in found.coverage.en
    assert all(set(rules) <= {i.rule for i in found.incomplete} for rules in named.values())
    assert [len(r) for r in named.values()] == sorted((len(r) for r in named.values()), reverse=True)


def test_few_steps_lower_confidence_and_say_so() -> None:
    few = diagnosed({**STARVED, "ml.step.count": 5}).findings[0]
    many = diagnosed(STARVED).findings[0]

    assert (few.confidence, many.confidence) == ("medium", "high")
    assert "only 5 steps" in few.confidence_reason.en
    assert "43 steps" in many.confidence_reason.en


def test_one_failing_rule_never_stops_the_others() -> None:
    broken = dataclasses.replace(
        rule("broken", "ml.step.time > 0.1"), when=When(all=(Condition("x", "run.phase", ">", 1.0),))
    )

    diagnosis = diagnosed(STARVED, engine_of(broken, rule("fine", "ml.step.time > 0.1")))

    assert [f.rule.id for f in diagnosis.findings] == ["fine"]
    assert [name for name, _ in diagnosis.errors] == ["broken"]


def test_a_measurement_already_taken_is_not_proposed_again() -> None:
    taken = {
        "facts": {"system.cpu.utilization": 0.2},
        "sources": [{"kind": "training hook", "origin": "x", "state": "absent"}],
    }

    diagnosis = diagnose(restore(read_document(taken), KNOWLEDGE.facts), ENGINE)

    assert all(not n.command.startswith("advisor run") for n in diagnosis.next_measurements)


MATCHED = [(r, c) for r in KNOWLEDGE.rules.values() for c in CASES[r.id] if c.expect == "matched"]


@pytest.mark.parametrize(("owner", "case"), MATCHED, ids=lambda x: getattr(x, "id", getattr(x, "name", "")))
def test_evidence_is_true_from_the_profile_alone(owner: Rule, case: Any) -> None:
    from advisor.condition import compile_condition

    diagnosis = diagnosed(dict(case.facts))
    values = {n: f.value for n, f in diagnosis.profile.facts.items()}

    assert diagnosis.findings, "folding never hides the only finding"
    assert owner.id in {r for f in diagnosis.findings for r in (f.rule.id, *f.explains)}
    for finding in diagnosis.findings:
        assert finding.evidence
        for e in finding.evidence:
            assert compile_condition(parse(e.condition))(values) is True
        for e in finding.ruled_out:
            assert compile_condition(parse(e.condition))(values) is False


FACTS = sorted({f for r in KNOWLEDGE.rules.values() for c in (*r.applies, *r.when.conditions) for f in c.facts})


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(MATCHED), st.sampled_from(FACTS))
def test_losing_a_fact_never_turns_an_incomplete_rule_into_an_answer(picked: tuple[Rule, Any], lost: str) -> None:
    values = with_derived(picked[1].facts)
    before = {m.rule.id: m.trace.outcome for m in ENGINE.match(values)}
    after = {m.rule.id: m.trace.outcome for m in ENGINE.match({k: v for k, v in values.items() if k != lost})}

    assert [r for r in before if before[r] == "incomplete" and after[r] in ("matched", "cleared")] == []


def test_the_same_profile_gives_the_same_bytes_and_survives_a_round_trip() -> None:
    first = json.dumps(diagnosis_document(diagnosed(STARVED), KNOWLEDGE), ensure_ascii=False)
    again = json.dumps(diagnosis_document(diagnosed(dict(reversed(STARVED.items()))), KNOWLEDGE), ensure_ascii=False)
    read_back = diagnose(restore(read_document(json.loads(first)), KNOWLEDGE.facts), ENGINE)

    assert first == again
    assert json.dumps(diagnosis_document(read_back, KNOWLEDGE), ensure_ascii=False) == first


def test_the_document_has_the_keys_of_schema_1() -> None:
    document = diagnosis_document(diagnosed(STARVED), KNOWLEDGE)

    assert document["schema"] == 1
    assert {"version", "hash"} == set(document["knowledge"])
    assert {"id", "subject", "started", "duration_s", "sources", "facts", "series", "members"} <= set(
        document["profile"]
    )
    finding = document["findings"][0]
    assert {"rule", "topic", "title", "severity", "confidence", "gain", "evidence", "remedies", "explains"} <= set(
        finding
    )
    assert {"fact", "value", "unit", "op", "limit", "origin", "where"} <= set(finding["evidence"][0])
    assert {"id", "do", "knob", "to", "effort", "risk", "not_when", "verify", "rollback"} <= set(finding["remedies"][0])
    for key in (
        "verdict",
        "headline",
        "incomplete",
        "near_misses",
        "cleared",
        "inapplicable",
        "errors",
        "next_measurements",
    ):
        assert key in document


def test_a_live_profile_and_its_document_are_judged_alike() -> None:
    from advisor.models import Fact, Reading, Source

    facts = tuple(Fact(n, v, KNOWLEDGE.facts[n].unit, "hook") for n, v in STARVED.items() if not isinstance(v, int))
    live = build(
        [Reading(Source("training hook", "hook", "ok"), facts)],
        KNOWLEDGE.facts,
        subject="s",
        started="t",
        duration_s=3.0,
    )
    first = diagnose(live, ENGINE)
    again = diagnose(restore(read_document(diagnosis_document(first, KNOWLEDGE)), KNOWLEDGE.facts), ENGINE)

    assert again == first


def test_the_title_text_is_bilingual() -> None:
    assert isinstance(diagnosed(STARVED).headline, Text)
    assert "70 %" in diagnosed(STARVED).headline.en


def test_a_diagnosis_names_the_knowledge_it_was_made_with() -> None:
    assert diagnosed(STARVED).knowledge_hash == KNOWLEDGE.hash
