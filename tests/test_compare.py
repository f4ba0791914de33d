"""Comparing two runs: what became of findings, what is more than noise, what the fix won, and every face of it."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from advisor.blocks import to_markdown
from advisor.blocks.comparison import comparison_blocks
from advisor.collect.training_steps import combine
from advisor.engine.compare import regressions
from advisor.engine.noise import FEWEST, noise
from advisor.errors import InputError
from advisor.models import LANGS, Diagnosis
from advisor.models.compared import Comparison, Fated, Metric
from advisor.pipeline import Advisor
from advisor.report.comparison import comparison_document
from advisor.serve import create_app

ADVISOR = Advisor()
RULE = "dataloader-no-workers"
TITLE = "Data loading runs in the training process"
WAIT = "ml.step.data_wait.exposed.fraction"
PROBLEM = "application/problem+json"


def timed(seconds: float, count: int, seed: int, *, noisy: float = 0.05, along: float = 0.4) -> list[float]:
    """Step times with noise that lasts for several steps, and a stall now and then."""
    draw, state, times = random.Random(seed), 0.0, []
    for _ in range(count):
        state = along * state + draw.gauss(0, math.sqrt(1 - along**2))
        times.append(seconds * math.exp(noisy * state) * (1.8 if draw.random() < 0.01 else 1.0))
    return times


def run(
    times: Sequence[float], *, wait: float = 0.7, workers: int = 0, series: bool = True, **facts: Any
) -> dict[str, Any]:
    """A profile document of a training run with these step times. A fact that is None is not measured."""
    mean = statistics.fmean(times)
    ends = [sum(times[: i + 1]) for i in range(len(times))]
    known = {
        "run.phase": "training",
        "run.gpu.used": False,
        "ml.step.time": mean,
        "ml.step.count": len(times),
        "ml.step.compute.time": mean * (1 - wait),
        WAIT: wait,
        "ml.dataloader.batch.time": 0.55,
        "ml.dataloader.batch.cpu_time": 0.55,
        "ml.throughput.samples": 32 / mean,
        "config.dataloader.num_workers": workers,
        "config.dataloader.batch_size": 32,
        "system.cpu.utilization": 0.6,
        "system.io.stall.fraction": 0.0,
        "container.cpuset.count": 8,
        "system.cpu.logical.count": 8,
    }
    named = {name.replace("__", "."): value for name, value in facts.items()}
    document = {
        "subject": f"python train.py --workers {workers}",
        "facts": {name: value for name, value in {**known, **named}.items() if value is not None},
        "series": {"ml.step.time": {"t": ends, "v": list(times)}} if series else {},
    }
    return {"schema": 1, "profile": document}


BEFORE = run(timed(0.8, 60, 1))
AFTER = run(timed(0.26, 180, 2), wait=0.004, workers=3)


def diagnosed(document: dict[str, Any]) -> Diagnosis:
    return ADVISOR.diagnose(document)


def compared(before: dict[str, Any], after: dict[str, Any]) -> Comparison:
    return ADVISOR.compare(diagnosed(before), diagnosed(after))


def finding(comparison: Comparison, rule: str) -> Fated:
    return next(f for f in comparison.findings if f.rule.id == rule)


def metric(comparison: Comparison, fact: str) -> Metric:
    return next(m for m in comparison.metrics if m.fact == fact)


def fates(comparison: Comparison) -> dict[str, str]:
    return {f.rule.id: f.fate for f in comparison.findings}


# --- findings -------------------------------------------------------------------------


def test_a_fix_that_worked_is_said_in_one_line_with_its_band_and_verified() -> None:
    told = compared(BEFORE, AFTER)
    gone = finding(told, RULE)

    assert told.verdict == "better"
    assert told.headline.en.startswith("A step takes 68 % less time (6")
    assert told.headline.en.endswith(f"), beyond noise; gone: “{TITLE}”")
    assert told.headline.zh.endswith("超出噪声；已消除：“数据加载在训练进程内执行”")
    assert gone.fate == "gone"
    assert [(c.condition.text, c.holds, c.value, c.limit) for c in gone.checks] == [
        (f"{WAIT} < 0.02", True, 0.004, 0.02)
    ]
    assert gone.checks[0].remedies == ("more-workers", "prepare-once")


def test_what_is_folded_under_a_cause_is_matched_too() -> None:
    other_cause = run(timed(0.8, 60, 2), workers=1)
    told = compared(BEFORE, other_cause)
    symptom, now = finding(told, "input-bound"), finding(told, "dataloader-too-few-workers")

    assert symptom.fate == "persisting"
    assert (symptom.under_before, symptom.under_after) == (RULE, "dataloader-too-few-workers")
    assert now.fate == "new"
    assert finding(told, RULE).unverified, "the setting changed, the wait did not"
    assert "gone, but its remedy is not verified" in told.headline.en


def test_what_cannot_be_judged_any_more_is_not_gone_and_what_could_not_be_judged_is_not_new() -> None:
    blind = run(timed(0.8, 60, 3), **{WAIT: None, "config.dataloader.num_workers": None})
    lost, found = compared(BEFORE, blind), compared(blind, BEFORE)

    assert fates(lost)[RULE] == "unmeasured"
    assert {WAIT, "config.dataloader.num_workers"} <= set(finding(lost, RULE).missing)
    assert [c.holds for c in finding(lost, RULE).checks] == [None]
    assert "gone" not in lost.headline.en
    assert fates(found)[RULE] == "first_seen"
    assert "new" not in found.headline.en


def test_what_does_not_apply_any_more_is_not_gone() -> None:
    served = {"facts": {"run.phase": "serving", "gen_ai.server.request.duration": 2.0}}
    told = compared(BEFORE, served)

    assert fates(told)[RULE] == "unmeasured"
    assert told.verdict == "unknown"
    assert "run.phase" in {d.fact for d in told.differences if d.kind == "place"}


def test_the_same_run_twice_is_no_change() -> None:
    told = compared(BEFORE, BEFORE)

    assert told.verdict == "same"
    assert set(fates(told).values()) == {"persisting"}
    assert {m.judgement for m in told.metrics} == {"same"}
    assert told.differences == ()
    assert told.unchanged == len(told.metrics) > 5


# --- metrics and noise ----------------------------------------------------------------


def test_changes_are_exact_numbers() -> None:
    before = run([0.4] * 20, series=False)
    after = run([0.3] * 20, series=False, wait=0.6, ml__throughput__samples=None)
    told = compared(before, after)
    step, wait = metric(told, "ml.step.time"), metric(told, WAIT)

    assert (step.before, step.after, step.change, step.points, step.judgement) == (0.4, 0.3, -0.25, False, "better")
    assert (wait.before, wait.after, wait.change, wait.points, wait.judgement) == (0.7, 0.6, -0.1, True, "better")
    assert step.band is None
    assert "ml.throughput.samples" not in {m.fact for m in told.metrics}
    assert "one number each, no noise band" in told.headline.en


@pytest.mark.parametrize(
    ("factor", "judgement"), [(1.09, "same"), (1.11, "worse"), (1 / 1.09, "same"), (1 / 1.11, "better")]
)
def test_one_number_each_counts_from_a_tenth(factor: float, judgement: str) -> None:
    told = compared(run([0.4] * 20, series=False), run([0.4 * factor] * 20, series=False))
    assert metric(told, "ml.step.time").judgement == judgement


@pytest.mark.parametrize(("after", "judgement"), [(0.01, "same"), (0.019, "same"), (0.03, "worse")])
def test_a_small_share_counts_from_two_points(after: float, judgement: str) -> None:
    told = compared(run([0.4] * 20, wait=0.0, series=False), run([0.4] * 20, wait=after, series=False))
    assert metric(told, WAIT).judgement == judgement


def test_a_steady_change_below_what_two_runs_differ_by_is_no_change() -> None:
    told = compared(run([0.4, 0.401] * 50), run([0.408, 0.409] * 50))
    step = metric(told, "ml.step.time")

    assert step.band is not None
    assert step.band.low > 0
    assert step.judgement == "same"


def test_a_share_of_nothing_is_told_without_a_percentage() -> None:
    before = run([0.4] * 20, ml__step__data_wait__time=0.0)
    told = compared(before, run([0.4] * 20, ml__step__data_wait__time=0.2))
    waited = metric(told, "ml.step.data_wait.time")

    assert (waited.change, waited.band, waited.judgement) == (None, None, "worse")
    assert "from 0" in to_markdown(comparison_blocks(told, ADVISOR.knowledge, "en"))


def inside(seed: int, count: int, factor: float = 1.0, **shape: float) -> Metric:
    one = run(timed(0.3, count, 2 * seed, **shape))
    other = run([t * factor for t in timed(0.3, count, 2 * seed + 1, **shape)])
    return metric(compared(one, other), "ml.step.time")


@pytest.mark.parametrize(("count", "along"), [(20, 0.3), (120, 0.5)])
def test_equal_runs_are_within_noise_for_at_least_nine_in_ten_seeds(count: int, along: float) -> None:
    judged = [_error_covers(seed, count, along) for seed in range(200)]
    assert sum(judged) >= 180, sum(judged)


def _error_covers(seed: int, count: int, along: float) -> bool:
    before, after = (timed(0.3, count, 2 * seed + i, along=along) for i in (0, 1))
    change = math.log(statistics.fmean(after) / statistics.fmean(before))
    error = noise(before, after, points=False)
    assert error is not None
    return change + error[0] <= 0 <= change + error[1]


def test_five_percent_are_found_under_realistic_noise() -> None:
    slower = [inside(seed, 300, 1.05).judgement for seed in range(20)]
    faster = [inside(seed, 300, 1 / 1.05).judgement for seed in range(20)]

    assert slower.count("worse") >= 16
    assert faster.count("better") >= 16


def test_spells_widen_the_band() -> None:
    calm, spells = (timed(0.3, 200, 5, noisy=0.2, along=along) for along in (0.0, 0.95))
    narrow, wide = (noise(times, times[::-1], points=False) for times in (calm, spells))

    assert narrow is not None
    assert wide is not None
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


def test_too_few_samples_and_values_that_cannot_be_give_no_band() -> None:
    enough = [0.3 + i / 1000 for i in range(FEWEST)]

    assert noise(enough, enough[1:], points=False) is None
    assert noise(enough, [*enough, 0.0], points=False) is None
    assert noise(enough, [*enough, math.inf], points=True) is None
    assert noise(enough, enough, points=False) is not None


def test_exchanged_runs_are_the_mirror() -> None:
    there, back = compared(BEFORE, AFTER), compared(AFTER, BEFORE)
    mirrored = {"better": "worse", "worse": "better", "same": "same", "moved": "moved"}
    opposite = {"gone": "new", "new": "gone", "persisting": "persisting"}

    assert {r: opposite[f] for r, f in fates(there).items()} == fates(back)
    for one, other in ((m, metric(back, m.fact)) for m in there.metrics):
        assert mirrored[one.judgement] == other.judgement, one.fact
        if one.change is not None and not one.points:
            assert (1 + one.change) * (1 + other.change) == pytest.approx(1, rel=2e-3)  # type: ignore[operator]
        if one.band and other.band:
            assert (1 + one.band.low) * (1 + other.band.high) == pytest.approx(1, rel=2e-3)


def test_the_same_documents_give_the_same_bytes() -> None:
    shuffled = json.loads(json.dumps(BEFORE))
    shuffled["profile"]["facts"] = dict(reversed(shuffled["profile"]["facts"].items()))
    first, again = (json.dumps(comparison_document(compared(b, AFTER))) for b in (BEFORE, shuffled))

    assert first == again


def test_the_steps_that_the_hook_kept_singly_weigh_as_much_as_the_others() -> None:
    head = [{"at": float(i), "time": 0.4, "wait": 0.0, "loaders": [0]} for i in range(1, 65)]
    buckets = [[64.0 + 16 * i, 16, 1.6, 0.0] for i in range(1, 11)]
    group = {"loaders": [0], "steps": 160, "time": 16.0, "square": 1.6, "histogram": [], "buckets": buckets}
    steps = combine({"head": head, "groups": [group]})
    drawn = steps.series()["ml.step.time"].v

    assert drawn[:3] == pytest.approx([0.4] * 3)
    assert drawn[-9:] == pytest.approx([0.1] * 9)
    assert statistics.fmean(drawn) == pytest.approx(steps.total / steps.count, rel=0.05)


# --- what was won ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "judgement", "said"),
    [
        (0.25, "near", "98 % of that was won, which is near the bound"),
        (0.5, "partly", "54 % of that was won"),
        (0.8, "none", "none of it was won beyond noise"),
        (0.1, "above", "more was won, so something else changed too"),
    ],
)
def test_the_gain_is_held_against_its_bound(step: float, judgement: str, said: str) -> None:
    told = compared(run([0.8] * 40), run([step] * 40, wait=0.004, workers=3)).realised

    assert told is not None
    assert (told.rules, told.bound, told.judgement) == ((RULE,), 0.7, judgement)
    assert told.share == pytest.approx(1 - step / 0.8, abs=1e-4)
    assert said in told.said.en
    assert "70 %" in told.said.en
    assert "70%" in told.said.zh


def test_more_than_the_bound_within_noise_is_near_it_and_beyond_is_not() -> None:
    noisy = {"noisy": 0.3, "along": 0.0}
    before = timed(1.0, 30, 1, **noisy)
    target = statistics.fmean(before) * 0.29
    after = timed(1.0, 30, 2, **noisy)
    scale = target / statistics.fmean(after)
    told = compared(run(before), run([t * scale for t in after], wait=0.004, workers=3)).realised

    assert told is not None
    assert told.share > told.bound > (told.low or 0)
    assert told.judgement == "near"
    assert "within noise, all of that was won" in told.said.en


def test_while_nothing_is_gone_the_bound_is_what_is_still_there() -> None:
    told = compared(run([0.8] * 40), run([0.7] * 40)).realised

    assert told is not None
    assert (told.rules, told.judgement) == ((RULE,), "partly")


# --- what else differs ----------------------------------------------------------------


def test_another_batch_size_compares_samples_and_not_steps() -> None:
    doubled = run([0.5] * 40, wait=0.004, workers=3, config__dataloader__batch_size=64, ml__throughput__samples=128.0)
    told = compared(run([0.8] * 40), doubled)

    assert not told.same_work
    assert told.basis is not None
    assert told.basis.fact == "ml.throughput.samples"
    assert told.headline.en.startswith("A sample takes 69 % less time")
    assert metric(told, "ml.step.time").judgement == "moved"
    assert told.differences[0].fact == "config.dataloader.batch_size"
    assert told.realised is not None
    assert told.realised.share == pytest.approx(1 - 40 / 128, abs=1e-4)


def test_longer_sequences_compare_tokens_alone() -> None:
    short = run([0.8] * 40, ml__sequence_length__mean=512.0, ml__throughput__tokens=20_000.0)
    long = run([0.8] * 40, ml__sequence_length__mean=1024.0, ml__throughput__tokens=40_000.0)
    blind = run([0.8] * 40, ml__sequence_length__mean=1024.0)

    assert compared(short, long).headline.en.startswith("A token takes 50 % less time")
    assert compared(short, blind).verdict == "unknown"
    assert compared(short, run([0.8] * 40, ml__sequence_length__mean=515.0)).same_work


def test_without_settings_the_samples_of_a_step_tell_its_work() -> None:
    unset = {"config__dataloader__batch_size": None}
    assert not compared(run([0.8] * 40, **unset), run([0.8] * 40, ml__throughput__samples=80.0, **unset)).same_work
    assert compared(run([0.8] * 40, **unset), run([0.8] * 40, ml__throughput__samples=40.3, **unset)).same_work


def test_another_machine_is_said() -> None:
    told = compared(BEFORE, run(timed(0.8, 60, 1), hw__gpu__model="NVIDIA H200", container__cpuset__count=16))
    same = compared(run([0.8] * 40, hw__gpu__model="NVIDIA A100"), run([0.8] * 40, hw__gpu__model="NVIDIA H200"))
    page = to_markdown(comparison_blocks(same, ADVISOR.knowledge, "en"))

    assert [d.fact for d in told.differences] == ["container.cpuset.count"], "what one run did not measure is no change"
    assert "NVIDIA A100 → NVIDIA H200" in page
    assert "Machine, ranks or model are not the same" in page


def test_servers_are_compared_by_the_time_of_a_request() -> None:
    slow = {
        "facts": {"run.phase": "serving", "gen_ai.server.request.duration": 4.0, "gen_ai.server.requests.rate": 5.0}
    }
    fast = {
        "facts": {"run.phase": "serving", "gen_ai.server.request.duration": 3.0, "gen_ai.server.requests.rate": 2.0}
    }
    told = compared(slow, fast)

    assert told.headline.en.startswith("A request takes 25 % less time (one number each")
    assert metric(told, "gen_ai.server.requests.rate").judgement == "moved", "load is neither good nor bad"


# --- regressions ----------------------------------------------------------------------


def test_a_regression_is_worse_beyond_noise_and_beyond_the_limit() -> None:
    slower, noisy = compared(run([0.3, 0.31] * 30), run([0.33, 0.34] * 30)), compared(BEFORE, run(timed(0.81, 60, 8)))
    names = {m.fact for m in regressions(slower, 0.05) or ()}

    assert names == {"ml.step.time", "ml.throughput.samples"}
    assert regressions(slower, 0.15) == ()
    assert regressions(noisy, 0.0) == ()
    assert regressions(compared(AFTER, BEFORE), 0.05) != ()
    assert regressions(compared(BEFORE, AFTER), 0.05) == ()


def test_a_longer_step_that_does_more_is_no_regression() -> None:
    more = run([1.2] * 40, config__dataloader__batch_size=64, ml__throughput__samples=64 / 1.2)
    assert regressions(compared(run([0.8] * 40), more), 0.05) == ()


def test_without_anything_to_judge_by_there_is_no_passing() -> None:
    nothing = compared(BEFORE, {"facts": {"system.cpu.utilization": 0.5}})

    assert regressions(nothing, 0.05) is None
    with pytest.raises(InputError, match="no regression can be judged"):
        ADVISOR.regressed(nothing, 0.05)


# --- blocks ---------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGS)
def test_every_language_says_the_same(lang: Any) -> None:
    page = to_markdown(comparison_blocks(compared(BEFORE, AFTER), ADVISOR.knowledge, lang))

    assert RULE not in page.splitlines()[0]
    assert "−68 %" in page or "−68%" in page
    assert "✓" in page
    assert "{" not in page
    words = {"en": "less time", "zh-Hans": "超出噪声", "zh-Hant": "超出"}
    assert words[lang] in page
    if lang != "en":
        assert "beyond noise" not in page


def test_what_moved_without_samples_and_direction_is_counted_and_in_the_json_only() -> None:
    told = compared(BEFORE, run(timed(0.8, 60, 4), system__cpu__utilization=0.2))
    page = to_markdown(comparison_blocks(told, ADVISOR.knowledge, "en"))
    listed = {m["fact"]: m["judgement"] for m in comparison_document(told)["metrics"]}

    assert "CPU utilisation of the host" not in page
    assert "differ without being good or bad in themselves" in page
    assert listed["system.cpu.utilization"] == "moved"
    assert "metrics did not change beyond noise" in page


# --- command line ---------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    written = {"before": BEFORE, "after": AFTER, "two": [1]}
    for name, content in written.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return {name: tmp_path / f"{name}.json" for name in written}


def advisor(home: Path, *args: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ADVISOR_DATA": str(home), "LANG": "C.UTF-8", "LC_ALL": "", "COLUMNS": "120", **extra}
    command = [sys.executable, "-m", "advisor", "compare", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


def test_the_command_tells_a_person(files: dict[str, Path], tmp_path: Path) -> None:
    done = advisor(tmp_path, files["before"], files["after"])
    chinese = advisor(tmp_path, files["before"], files["after"], LANG="zh_CN.UTF-8")

    assert done.returncode == chinese.returncode == 0, done.stderr + chinese.stderr
    assert done.stdout.strip().startswith("A step takes 68 % less time")
    assert "✓ Verify: Exposed wait for the next batch < 2 %: holds (0.4 %)" in done.stdout
    assert "DataLoader workers: 0 → 3" in done.stdout
    assert chinese.stdout.strip().startswith("step 耗时减少 68%")
    assert "满足（0.4%）" in chinese.stdout


def test_the_command_gives_json_that_is_the_document(files: dict[str, Path], tmp_path: Path) -> None:
    told = json.loads(advisor(tmp_path, files["before"], files["after"], "--json").stdout)

    assert told == json.loads(json.dumps(comparison_document(compared(BEFORE, AFTER))))
    assert (told["schema"], told["verdict"], told["basis"]) == (1, "better", "ml.step.time")
    assert told["findings"][0]["verify"][0]["holds"] is True


def test_the_exit_status_tells_a_regression(files: dict[str, Path], tmp_path: Path) -> None:
    limit = ("--fail-on-regression", "5%")
    assert advisor(tmp_path, files["before"], files["after"], *limit).returncode == 0
    assert advisor(tmp_path, files["after"], files["before"], *limit).returncode == 1
    assert advisor(tmp_path, files["after"], files["before"], "--fail-on-regression", "500%").returncode == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["{before}", "no-such-file.json"], "is not there"),
        (["{before}", "{two}"], "not a list"),
        (["{before}"], "AFTER"),
        (["{before}", "{after}", "--fail-on-regression", "5"], "is not a percentage"),
        (["{before}", "{after}", "--fail-on-regression", "x%"], "is not a percentage"),
        (["{before}", "{folder}"], "holds 2 runs"),
    ],
)
def test_bad_input_gets_one_sentence(files: dict[str, Path], tmp_path: Path, args: list[str], said: str) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    for name in ("before", "after"):
        (folder / f"{name}.json").write_bytes(files[name].read_bytes())
    named = {**files, "folder": folder}
    done = advisor(tmp_path, *[str(named[a[1:-1]]) if a.startswith("{") else a for a in args])

    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def trace(path: Path, length: float, wait: float) -> Path:
    """A trace of twelve steps of about `length` microseconds that each begin with a wait for data."""
    events, at = [], 0.0
    for number, seconds in enumerate(timed(length, 12, 3)):
        mark = {"ph": "X", "pid": 7, "tid": 100, "ts": at, "args": {}}
        loader = "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"
        events += [
            {**mark, "cat": "user_annotation", "name": f"ProfilerStep#{number}", "dur": seconds},
            {**mark, "cat": "user_annotation", "name": loader, "dur": seconds * wait},
            {**mark, "cat": "cpu_op", "name": "aten::mm", "ts": at + seconds * wait, "dur": seconds * (1 - wait)},
        ]
        at += seconds
    path.write_bytes(gzip.compress(json.dumps({"schemaVersion": 1, "traceEvents": events}).encode()))
    return path


def test_traces_are_compared_with_the_noise_of_their_steps(tmp_path: Path) -> None:
    slow, fast = trace(tmp_path / "one.json.gz", 9000.0, 0.5), trace(tmp_path / "two.json.gz", 4600.0, 0.01)
    told = json.loads(advisor(tmp_path, slow, fast, "--json").stdout)
    (step,) = [m for m in told["metrics"] if m["fact"] == "ml.step.time"]

    assert told["verdict"] == "better"
    assert step["change"] == pytest.approx(4.6 / 9 - 1, abs=1e-3)
    assert step["band"]["samples"] == [12, 12]
    assert step["band"]["low"] < step["change"] < step["band"]["high"] < 0
    assert {m["fact"]: m["judgement"] for m in told["metrics"]}[WAIT] == "better"


# --- REST -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    served = Advisor(ADVISOR.knowledge, tmp_path_factory.mktemp("data"))
    with TestClient(create_app(served), base_url="http://127.0.0.1:8321") as client:
        yield client


def test_rest_compares_stored_runs_and_documents(client: TestClient) -> None:
    stored = client.post("/api/v1/diagnose", json=BEFORE).json()["profile"]["id"]
    response = client.post("/api/v1/compare", json={"before": stored, "after": AFTER})
    whole = client.post("/api/v1/compare", json={"before": BEFORE, "after": AFTER})

    assert response.status_code == 200
    assert response.json() == whole.json() == json.loads(json.dumps(comparison_document(compared(BEFORE, AFTER))))
    assert len(client.get("/api/v1/profiles").json()) == 1, "comparing stores nothing"


BAD: list[tuple[bytes, str, int]] = [
    (b"{", "application/json", 400),
    (b"[]", "application/json", 422),
    (b"{}", "application/json", 422),
    (b'{"before": 1, "after": 2}', "application/json", 422),
    (b'{"before": "a", "after": "b", "more": 1}', "application/json", 422),
    (b'{"before": "none", "after": "none"}', "application/json", 404),
    (b'{"before": {"schema": 7}, "after": {}}', "application/json", 422),
    (b'{"before": {"facts": {}}, "after": {"facts": []}}', "application/json", 422),
    (b'{"before": "a", "after": "b"}', "text/plain", 415),
]


@pytest.mark.parametrize(("body", "media", "status"), BAD)
def test_rest_explains_what_it_cannot_use(client: TestClient, body: bytes, media: str, status: int) -> None:
    response = client.post("/api/v1/compare", content=body, headers={"content-type": media})

    assert response.status_code == response.json()["status"] == status
    assert response.headers["content-type"] == PROBLEM
    assert len(response.json()["detail"].splitlines()) == 1
    assert "Traceback" not in response.text


def test_openapi_shows_what_to_send(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/api/v1/compare"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]

    assert operation["operationId"] == "compare"
    assert set(schema["required"]) == {"before", "after"}
    assert client.post("/api/v1/compare", json=schema["examples"][0]).status_code == 404, (
        "well-formed; nobody stored it"
    )
