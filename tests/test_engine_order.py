"""The same facts give the same bytes, in whatever order and process; and what no fact may be ends in a note."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from profile_space import ALL_CASES, CASES, KNOWLEDGE, RULES, Facts, mixtures, profile_of, readings
from seeds import SEEDS

from advisor import kb
from advisor.condition import parse
from advisor.derive import with_derived
from advisor.engine import Engine, diagnose
from advisor.errors import InputError
from advisor.models import Contradiction, Diagnosis, Fact, Profile, Reading, Rule, Source, When
from advisor.pipeline import Advisor
from advisor.profile import build, restore
from advisor.readers.document import read_document
from advisor.report.document import diagnosis_document

ROOT = Path(__file__).parents[1]
HEALTHY = sorted((Path(__file__).parent / "profiles" / "healthy").glob("*.json"))
ENGINE = Engine(KNOWLEDGE)
WINDOW: dict[str, Any] = {"subject": "python train.py", "started": "2026-01-01T00:00:00Z", "duration_s": 600.0}
few = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


def document(diagnosis: Diagnosis) -> str:
    return json.dumps(diagnosis_document(diagnosis, KNOWLEDGE), ensure_ascii=False, allow_nan=False)


def judged(profile: Profile) -> str:
    return document(diagnose(profile, ENGINE))


def without_listing(text: str) -> dict[str, Any]:
    """A document without the order in which sources and ranks are listed, which is the order of reading."""
    read: dict[str, Any] = json.loads(text)
    for key in ("sources", "members"):
        read["profile"][key] = sorted(read["profile"][key], key=repr)
    return read


# --- order ------------------------------------------------------------------------------


@few
@given(mixtures(), st.randoms(use_true_random=False))
def test_the_order_of_facts_is_nothing(facts: Facts, chance: random.Random) -> None:
    shuffled = list(facts.items())
    chance.shuffle(shuffled)

    assert judged(profile_of(dict(shuffled))) == judged(profile_of(facts))


@few
@given(mixtures(), mixtures(), st.randoms(use_true_random=False))
def test_the_order_of_sources_is_nothing_also_where_they_disagree(
    facts: Facts, others: Facts, chance: random.Random
) -> None:
    second = [dataclasses.replace(r, source=dataclasses.replace(r.source, origin="another")) for r in readings(others)]
    given_ = [*readings(facts), *second]
    shuffled = [dataclasses.replace(r, facts=tuple(chance.sample(r.facts, len(r.facts)))) for r in given_]
    chance.shuffle(shuffled)

    first = judged(build(given_, KNOWLEDGE.facts, **WINDOW))
    again = judged(build(shuffled, KNOWLEDGE.facts, **WINDOW))
    assert without_listing(again) == without_listing(first)


@few
@given(st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_ranks_is_nothing_also_where_two_are_equally_slow(
    times: list[float], chance: random.Random
) -> None:
    ranks = [
        (f"rank {i}", Reading(Source("training hook", "h", "ok"), (Fact("ml.step.compute.time", t, "s", "h"),)))
        for i, t in enumerate(times)
    ]
    shuffled = chance.sample(ranks, len(ranks))

    first = judged(build([], KNOWLEDGE.facts, ranks=ranks, **WINDOW))
    again = judged(build([], KNOWLEDGE.facts, ranks=shuffled, **WINDOW))
    assert without_listing(again) == without_listing(first)


def test_the_order_of_rules_is_nothing() -> None:
    rules = list(KNOWLEDGE.rules.items())
    random.Random(1).shuffle(rules)
    engine = Engine(dataclasses.replace(KNOWLEDGE, rules=dict(rules)))

    for rule, case in ALL_CASES[::60]:
        one, other = diagnose(profile_of(case.facts), ENGINE), diagnose(profile_of(case.facts), engine)
        assert [f.rule.id for f in one.findings] == [f.rule.id for f in other.findings], rule.id
        assert [set(f.explains) for f in one.findings] == [set(f.explains) for f in other.findings]
        assert (one.verdict, one.headline) == (other.verdict, other.headline)
        assert set(one.cleared) == set(other.cleared)
        assert set(one.incomplete) == set(other.incomplete)


RENDERED = """
import hashlib, json, sys
from io import StringIO
from pathlib import Path
from advisor.blocks import diagnosis_blocks
from advisor.pipeline import Advisor
from advisor.report.terminal import print_blocks
advisor = Advisor()
for path in sys.argv[1:]:
    for document in json.loads(Path(path).read_text(encoding="utf-8")):
        diagnosis = advisor.diagnose(document)
        texts = [advisor.report(diagnosis, "json", "en")]
        for lang in ("en", "zh-Hans", "zh-Hant"):
            texts += [advisor.report(diagnosis, format, lang) for format in ("md", "html")]
            shown = StringIO()
            print_blocks(diagnosis_blocks(diagnosis, advisor.knowledge, lang), shown)
            texts.append(shown.getvalue())
        assert all(texts)
        print(hashlib.sha256("".join(texts).encode()).hexdigest())
"""


def test_every_process_gives_the_same_bytes_from_the_pack_and_from_the_files(tmp_path: Path) -> None:
    """Two processes with other hash seeds; the first one makes the pack from the files, the second one reads it."""
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in HEALTHY]
    documents += [{"facts": dict(case.facts)} for _, case in ALL_CASES if case.expect == "matched"][::40]
    (tmp_path / "profiles.json").write_text(json.dumps(documents), encoding="utf-8")
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RENDERED, str(tmp_path / "profiles.json")]

    said = [
        subprocess.check_output(command, env={**env, "PYTHONHASHSEED": seed}, text=True, cwd=tmp_path)
        for seed in ("1", "4242")
    ]

    assert len(list((tmp_path / "advisor").glob("*.pack"))) == 1
    assert len(said[0].split()) == len(documents)
    assert said[0] == said[1]


def test_the_pack_and_the_files_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kb.load()
    packed = Engine(kb.load())

    for _, case in ALL_CASES[::60]:
        assert document(diagnose(profile_of(case.facts), packed)) == judged(profile_of(case.facts))


# --- chains and ties --------------------------------------------------------------------


def rule(name: str, *explains: str) -> Rule:
    plain = KNOWLEDGE.rules["dataloader-no-workers"]
    when = When(all=(parse("ml.step.time > 0.1"),))
    return dataclasses.replace(plain, id=name, applies=(), when=when, explains=explains, gain=None)


@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda e: e[0] < e[1])), st.permutations(range(7))
)
def test_chains_of_any_form_keep_their_causes_and_lose_nothing(edges: set[tuple[int, int]], order: list[int]) -> None:
    rules = {f"r{i}": rule(f"r{i}", *(f"r{b}" for a, b in sorted(edges) if a == i)) for i in order}
    found = diagnose(profile_of({"ml.step.time": 0.5}), Engine(dataclasses.replace(KNOWLEDGE, rules=rules))).findings

    causes = {f"r{i}" for i in range(7)} - {f"r{b}" for _, b in edges}
    assert [f.rule.id for f in found] == sorted(causes), "equal findings stand in the order of their names"
    assert {f.rule.id for f in found} | {r for f in found for r in f.explains} == set(rules)


# --- what no fact may be ----------------------------------------------------------------

STRANGE = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from(
        [10**400, -(10**400), 10**6000, 1e308, -1e308, 5e-324, -0.5, 2**63, True, False, "", "9" * 5000 + ".0"]
    ),
    st.text(max_size=20),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(sorted(KNOWLEDGE.facts)), STRANGE, min_size=1, max_size=60))
def test_any_value_of_any_fact_ends_in_a_fact_or_in_a_note(facts: dict[str, Any]) -> None:
    profile = profile_of(facts)
    text = judged(profile)

    notes = " ".join(s.note for s in profile.sources)
    assert all(name in profile.facts or f"{name} " in notes for name in facts)
    assert json.loads(text)["errors"] == []


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(KNOWLEDGE.facts)), STRANGE, min_size=1, max_size=60))
def test_live_sources_may_say_anything_too(facts: dict[str, Any]) -> None:
    profile = build(readings(facts), KNOWLEDGE.facts, **WINDOW)

    judged(profile)
    for name, fact in profile.facts.items():
        spec = KNOWLEDGE.facts[name]
        assert fact.unit == spec.unit
        if isinstance(fact.value, float):
            assert spec.low is None or fact.value >= spec.low
            assert spec.high is None or fact.value <= spec.high


LARGEST = {"number": 1.7e308, "bool": True, "string": "x" * 10_000, "version": "9" * 5000 + ".0"}


@pytest.mark.parametrize("share", [1.0, 1e-300, 0.0])
def test_numbers_at_the_ends_of_their_range_break_no_formula(share: float) -> None:
    facts: dict[str, Any] = {}
    for name, spec in KNOWLEDGE.facts.items():
        top = LARGEST[spec.type]
        facts[name] = min(top * share, spec.high or top) if isinstance(top, float) else top
    inputs = {n: v for n, v in facts.items() if not n.startswith("derived.")}

    assert with_derived(inputs)
    judged(profile_of(inputs))
    for name in sorted(inputs):  # one small among the large, and the other way round
        with_derived({**inputs, name: 1e-300 if isinstance(inputs[name], float) else inputs[name]})


def test_a_number_that_runs_over_in_a_condition_is_unknown() -> None:
    over = dataclasses.replace(rule("ratio"), when=When(all=(parse("ml.step.time.p95 / ml.step.time > 2"),)))
    times = dataclasses.replace(rule("times"), when=When(all=(parse("ml.step.time.p95 > 2 * ml.step.time.p50"),)))
    engine = Engine(dataclasses.replace(KNOWLEDGE, rules={"ratio": over, "times": times}))
    facts = {"ml.step.time": 1e-300, "ml.step.time.p95": 1e308, "ml.step.time.p50": 1.7e308}

    diagnosis = diagnose(profile_of(facts), engine)

    assert [i.rule for i in diagnosis.incomplete] == ["ratio", "times"]
    document(diagnosis)


def test_thousands_of_facts_and_a_thousand_ranks() -> None:
    unknown = {f"no.such.fact_{i}": float(i) for i in range(5000)}
    members = [{"subject": f"rank {i}", "facts": {"ml.step.compute.time": 0.1 + (i == 700)}} for i in range(1000)]

    profile = restore(read_document({"facts": unknown, "members": members}), KNOWLEDGE.facts)
    judged(profile)

    assert "no.such.fact_4999 is not in the vocabulary" in profile.sources[0].note
    assert profile.facts["ml.rank.step_time.spread"].where == "rank 700"
    assert len(profile.members) == 1000


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration_s": float("nan")},
        {"duration_s": 10**400},
        {"duration_s": float("inf")},
        {"facts": {"ml.step.time": None}},
        {"facts": {"ml.step.time": [1]}},
        {"members": [{"facts": 3}]},
    ],
)
def test_a_document_of_another_shape_is_refused_in_a_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="the profile cannot be used"):
        read_document({"facts": {}, **wrong})


def test_a_file_with_a_number_of_thousands_of_digits_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text('{"facts": {"ml.step.time": ' + "9" * 5000 + "}}")

    with pytest.raises(InputError, match="a number has thousands of digits"):
        Advisor(KNOWLEDGE).diagnose_files([tmp_path / "profile.json"])


def test_points_that_no_picture_has_a_place_for_are_left_out() -> None:
    series = {"hw.gpu.utilization": {"t": [0.0, 1.0, float("nan"), 3.0], "v": [0.5, float("inf"), 0.5, 0.25]}}
    profile = restore(read_document({"facts": {}, "series": series}), KNOWLEDGE.facts)

    assert profile.series["hw.gpu.utilization"].t == (0.0, 3.0)
    judged(profile)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_kind_of_artefact_gives_a_diagnosis_that_reads_back(seed: str, tmp_path: Path) -> None:
    (tmp_path / "artefact").write_bytes(SEEDS[seed])
    advisor = Advisor(KNOWLEDGE)

    for diagnosis in advisor.diagnose_files([tmp_path / "artefact"]):
        text = document(diagnosis)
        assert document(advisor.diagnose(json.loads(text))) == text


# --- nothing is changed that was given ----------------------------------------------------


def test_the_engine_changes_nothing_that_it_is_given() -> None:
    raw = {"facts": dict(CASES["dataloader-no-workers"][0].facts), "members": [{"facts": {"ml.step.time": 0.3}}]}
    kept_raw, kept_rules = copy.deepcopy(raw), copy.deepcopy(RULES)
    profile = restore(read_document(raw), KNOWLEDGE.facts)
    profile = dataclasses.replace(
        profile, contradictions=(Contradiction(*(Fact("ml.step.time", v, "s", "x") for v in (0.1, 0.9))),)
    )
    kept = copy.deepcopy(profile)
    made = readings(dict(raw["facts"]))
    kept_made = copy.deepcopy(made)

    judged(profile)
    judged(build(made, KNOWLEDGE.facts, **WINDOW))

    assert (raw, profile, made) == (kept_raw, kept, kept_made)
    assert tuple(KNOWLEDGE.rules.values()) == kept_rules
