"""What is read in the script against what is measured: precedence, rank, verdict."""

from __future__ import annotations

from advisor import kb, profile
from advisor.engine import Engine
from advisor.engine import diagnose as judge
from advisor.models import Fact, Reading, Source


def test_what_was_read_in_the_script_never_outranks_a_measurement() -> None:
    knowledge = kb.load()
    engine = Engine(knowledge)
    window = {"subject": "s", "started": "", "duration_s": 600.0}

    def reading(kind: str, **given: float | bool | str) -> Reading:
        made = tuple(Fact(n.replace("__", "."), v, "", kind) for n, v in given.items())
        return Reading(Source(kind, kind, "ok"), made)

    code = {"code__graph_kept__count": 1.0, "config__anomaly_mode": True, "config__dataloader__num_workers": 4.0}
    script = reading("script", run__phase="training", run__gpu__used=True, **code)
    hook = reading(
        "training hook",
        run__phase="training",
        run__gpu__used=True,
        config__dataloader__num_workers=0.0,
        ml__step__data_wait__exposed__fraction=0.06,
        ml__step__time=0.1,
    )
    pressure = reading("pressure", system__io__stall__fraction=0.0)

    alone = judge(profile.build([script], knowledge.facts, **window), engine)
    assert alone.verdict == "inconclusive"
    assert {"loss-graph-kept", "debug-modes-on"} <= {f.rule.id for f in alone.findings}
    assert {f.confidence for f in alone.findings} == {"low"}

    both = profile.build([script, hook, pressure], knowledge.facts, **window)
    assert both.facts["config.dataloader.num_workers"].origin == "training hook"
    assert both.contradictions == ()
    found = judge(both, engine)
    assert found.verdict == "bottleneck"
    assert [f.static for f in found.findings] == sorted(f.static for f in found.findings)
    assert found.findings[0].rule.id == "dataloader-no-workers"
    assert found.findings[0].confidence == "high"

    calm = reading("training hook", config__anomaly_mode=False, ml__step__count=500.0)
    flat = reading("nvml", derived__gpu__memory__growth__fraction=0.0)
    measured = judge(profile.build([script, calm, flat], knowledge.facts, **window), engine)
    assert measured.findings == (), "a measurement that contradicts the code clears it"
    assert "loss-graph-kept" in measured.cleared
