"""Readings -> Profile: units, precedence, contradictions, and what cannot be."""

from __future__ import annotations

import math

import pytest

from advisor.models import Fact, FactSpec, Profile, Reading, Source
from advisor.profile import build, restore

SPECS = {
    s.name: s
    for s in (
        FactSpec("run.duration", "s", "number", "", low=0.0),
        FactSpec("ml.step.time", "s", "number", "", low=0.0),
        FactSpec("ml.step.compute.time", "s", "number", "", low=0.0),
        FactSpec("ml.rank.step_time.spread", "1", "number", "", low=0.0),
        FactSpec("ml.rank.data_wait.spread", "1", "number", "", low=0.0, high=1.0),
        FactSpec("hw.gpu.utilization", "1", "number", "", low=0.0, high=1.0),
        FactSpec("hw.gpu.idle.fraction", "1", "number", "", low=0.0, high=1.0),
        FactSpec("run.phase", "{string}", "string", ""),
        FactSpec("config.anomaly_mode", "{bool}", "bool", ""),
    )
}


def reading(kind: str, *facts: Fact) -> Reading:
    return Reading(Source(kind, f"the {kind}", "ok"), facts)


def fact(name: str, value: object, unit: str = "1", origin: str = "here") -> Fact:
    return Fact(name, value, unit, origin)  # type: ignore[arg-type]


def made(*readings: Reading) -> Profile:
    return build(readings, SPECS, subject="s", started="2026-01-01T00:00:00Z", duration_s=12.0)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(312.0, "ms", 0.312), (2.0, "min", 120.0), (0.3, "s", 0.3), (250.0, "us", 0.00025)],
)
def test_units_become_canonical(value: float, unit: str, expected: float) -> None:
    profile = made(reading("log", fact("ml.step.time", value, unit)))

    assert profile.facts["ml.step.time"].value == pytest.approx(expected)
    assert profile.facts["ml.step.time"].unit == "s"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (fact("ml.step.time", math.nan, "s"), "not finite"),
        (fact("ml.step.time", math.inf, "s"), "not finite"),
        (fact("hw.gpu.utilization", 1.5), "outside"),
        (fact("hw.gpu.utilization", -0.5), "outside"),
        (fact("ml.step.time", 3.0, "parsec"), "came in parsec"),
        (fact("ml.step.time", "fast", "s"), "is not a number"),
        (fact("ml.step.time", True, "s"), "is not a number"),
        (fact("config.anomaly_mode", 1.0, "{bool}"), "is not a bool"),
        (fact("no.such.fact", 1.0), "not in the vocabulary"),
    ],
)
def test_what_cannot_be_is_left_out_with_a_note(given: Fact, said: str) -> None:
    profile = made(reading("log", given))

    assert given.name not in profile.facts
    assert said in profile.sources[0].note


def test_a_share_a_little_over_one_is_one() -> None:
    assert made(reading("nvml", fact("hw.gpu.utilization", 1.01))).facts["hw.gpu.utilization"].value == 1.0


def test_the_nearer_source_wins_and_disagreement_is_noted() -> None:
    far = reading("host", fact("ml.step.time", 0.5, "s", "far"))
    near = reading("training hook", fact("ml.step.time", 0.3, "s", "near"))

    profile = made(far, near)

    assert profile.facts["ml.step.time"].origin == "near"
    assert [(c.kept.origin, c.other.origin) for c in profile.contradictions] == [("near", "far")]
    assert made(near, reading("host", fact("ml.step.time", 0.31, "s"))).contradictions == ()


def test_derived_facts_say_where_their_inputs_were_measured() -> None:
    profile = made(reading("nvml", fact("hw.gpu.utilization", 0.25, origin="NVML")))

    assert profile.facts["hw.gpu.idle.fraction"].value == 0.75
    assert profile.facts["hw.gpu.idle.fraction"].origin == "NVML"


def test_a_profile_keeps_its_name_while_it_grows() -> None:
    assert made().id == made(reading("log", fact("run.phase", "training", "{string}"))).id


def test_ranks_become_members_and_the_group_knows_the_slowest() -> None:
    ranks = [
        (f"rank {i}", reading("training hook", fact("ml.step.compute.time", t, "s")))
        for i, t in enumerate((1.0, 1.0, 1.5))
    ]

    profile = build([], SPECS, subject="s", started="", duration_s=1.0, ranks=ranks)

    spread = profile.facts["ml.rank.step_time.spread"]
    assert (spread.value, spread.where) == (0.5, "rank 2")
    assert [m.subject for m in profile.members] == ["rank 0", "rank 1", "rank 2"]


def test_restoring_a_profile_changes_nothing() -> None:
    profile = made(
        reading("nvml", fact("hw.gpu.utilization", 0.25)), reading("log", fact("run.phase", "training", "{string}"))
    )

    assert restore(profile, SPECS) == profile


def test_documents_without_a_time_are_told_apart_by_their_facts() -> None:
    def bare(value: float) -> Profile:
        return restore(Profile("", "x", "", 0.0, (), {"ml.step.time": fact("ml.step.time", value, "s")}), SPECS)

    assert bare(1.0).id != bare(2.0).id
    assert bare(1.0).id == bare(1.0).id


def test_a_restored_document_is_checked_like_fresh_facts() -> None:
    raw = Profile(
        "", "x", "", 0.0, (), {"hw.gpu.utilization": fact("hw.gpu.utilization", 7.0), "a.b": fact("a.b", 1.0)}
    )

    profile = restore(raw, SPECS)

    assert profile.facts == {}
    assert "outside" in profile.sources[0].note
    assert "vocabulary" in profile.sources[0].note
