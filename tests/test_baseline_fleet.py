"""The baseline fleet: healthy machines and jobs of every class. A finding above minor on one is a false alarm."""

from __future__ import annotations

import json

import pytest

from advisor.models import Diagnosis
from advisor.pipeline import Advisor
from bench.accuracy import fleet

ADVISOR = Advisor()
FLEET = dict(fleet.documents())


@pytest.fixture(scope="module")
def diagnoses() -> dict[str, Diagnosis]:
    return {name: ADVISOR.diagnose(document) for name, document in FLEET.items()}


def test_the_fleet_is_large_and_varied() -> None:
    assert len(FLEET) >= 200
    assert len({json.dumps(document["facts"]) for document in FLEET.values()}) == len(FLEET)
    models = {document["facts"].get("hw.gpu.model") for document in FLEET.values()}
    phases = {document["facts"].get("run.phase") for document in FLEET.values()}
    assert len(models) > 20
    assert phases == {"training", "inference", "serving", None}
    assert sum("members" in document for document in FLEET.values()) > 10


def test_it_is_the_same_each_time() -> None:
    again = list(fleet.documents())

    assert len(again) == len(FLEET), "every profile is of a class of its own"
    assert json.dumps(dict(again)) == json.dumps(FLEET)


def test_every_fact_fits_the_vocabulary(diagnoses: dict[str, Diagnosis]) -> None:
    notes = {name: s.note for name, d in diagnoses.items() for s in d.profile.sources if s.note}

    assert notes == {}
    assert [d.errors for d in diagnoses.values() if d.errors] == []


def test_no_false_alarm(diagnoses: dict[str, Diagnosis]) -> None:
    raised = {name: fleet.alarms(d, ADVISOR.knowledge) for name, d in diagnoses.items()}

    assert {name: alarms for name, alarms in raised.items() if alarms} == {}


def test_the_rules_had_what_they_need(diagnoses: dict[str, Diagnosis]) -> None:
    """A rule that lacks its facts raises no alarm either: most rules were judged, and on many profiles."""
    judged = fleet.judged(diagnoses.values())
    often = [rule for rule in ADVISOR.knowledge.rules if judged[rule] >= 10]

    assert len(often) > 0.9 * len(ADVISOR.knowledge.rules)


def test_a_watched_run_is_called_healthy(diagnoses: dict[str, Diagnosis]) -> None:
    watched = [n for n in FLEET if "hook" in n and FLEET[n]["facts"]["run.phase"] == "training"]

    assert len(watched) > 50
    assert {diagnoses[name].verdict for name in watched} == {"healthy"}


STARVED = {"ml.step.data_wait.exposed.fraction": 0.5, "config.dataloader.num_workers": 0, "hw.gpu.utilization": 0.45}
HOT = {"hw.gpu.throttle.sw_thermal.fraction": 0.6, "hw.gpu.clock.sm.ratio": 0.6, "hw.gpu.temperature": 88}
LOOPING = {
    "hw.gpu.utilization": 0.5,
    "process.code.hotspot.fraction": 0.5,
    "process.code.interpreter.fraction": 0.4,
}


@pytest.mark.parametrize(
    ("fault", "rule"),
    [(STARVED, "dataloader-no-workers"), (HOT, "thermal-throttle"), (LOOPING, "python-code-in-step")],
)
def test_a_fault_put_onto_a_healthy_profile_is_found(fault: dict[str, object], rule: str) -> None:
    document = FLEET["a remapped row of last year (hook)"]

    found = ADVISOR.diagnose(document | {"facts": document["facts"] | fault})

    assert rule in [alarm for alarm, _ in fleet.alarms(found, ADVISOR.knowledge)]
