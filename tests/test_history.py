"""Samples over time, in every format that Prometheus and its kin write, -> the facts that pages would give."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import kb
from advisor.errors import InputError
from advisor.models import Reading, Value
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.metrics.history import MAX_PAGES, read, read_answers
from advisor.readers.paste import read_paste
from advisor.readers.recognise import recognise
from advisor.readers.told import Told

T0 = 1_700_000_000.0
GEN = "gen_ai.server"
SPECS = kb.load().facts
Series = tuple[str, dict[str, str], list[tuple[float, float]]]
CHAT = {"job": "chat", "instance": "gpu1:8000", "model_name": "m"}


def server(labels: dict[str, str] = CHAT, steps: int = 5, gap: float = 15.0, running: float = 4.0) -> list[Series]:
    """A vLLM server that makes 40 tokens a second and finishes 2 requests a second of 3 s each."""
    times = [T0 + gap * i for i in range(steps)]
    e2e = "vllm:e2e_request_latency_seconds"
    return [
        ("vllm:num_requests_running", labels, [(t, running) for t in times]),
        ("vllm:num_requests_waiting", labels, [(t, 2.0 * i) for i, t in enumerate(times)]),
        ("vllm:generation_tokens_total", labels, [(t, 9e6 + 40 * (t - T0)) for t in times]),
        ("vllm:request_success_total", {**labels, "finished_reason": "stop"}, [(t, 2 * (t - T0)) for t in times]),
        (f"{e2e}_sum", labels, [(t, 500 + 6 * (t - T0)) for t in times]),
        (f"{e2e}_count", labels, [(t, 100 + 2 * (t - T0)) for t in times]),
        (
            "process_start_time_seconds",
            {k: v for k, v in labels.items() if k != "model_name"},
            [(t, 5.0) for t in times],
        ),
    ]


def node(instance: str, steps: int = 5, gap: float = 15.0, **labels: str) -> list[Series]:
    pairs = {"job": "node", "instance": instance, **labels}
    times = [T0 + gap * i for i in range(steps)]
    return [
        ("node_memory_MemTotal_bytes", pairs, [(t, 64e9) for t in times]),
        ("node_memory_MemAvailable_bytes", pairs, [(t, 16e9) for t in times]),
        ("node_cpu_seconds_total", {**pairs, "cpu": "0", "mode": "idle"}, [(t, 0.25 * (t - T0)) for t in times]),
        ("node_cpu_seconds_total", {**pairs, "cpu": "0", "mode": "user"}, [(t, 0.75 * (t - T0)) for t in times]),
    ]


def dcgm(instance: str, host: str, used: float) -> list[Series]:
    pairs = {"job": "dcgm", "instance": instance, "Hostname": host, "gpu": "0", "UUID": "u", "modelName": "H100"}
    times = [T0 + 15 * i for i in range(5)]
    return [
        ("DCGM_FI_DEV_GPU_UTIL", pairs, [(t, 90.0) for t in times]),
        ("DCGM_FI_DEV_FB_USED", pairs, [(t, used) for t in times]),
    ]


def result(name: str, labels: dict[str, str], points: Sequence[tuple[float, float]]) -> dict[str, object]:
    return {
        "metric": {"__name__": name, **labels},
        "values": [[t, f"{v:g}" if v < 1e6 else repr(v)] for t, v in points],
    }


def answer(series: Sequence[Series], **more: object) -> str:
    data = {"resultType": "matrix", "result": [result(*one) for one in series]}
    return json.dumps({"status": "success", "data": data, **more}, separators=(",", ":"))


def braces(name: str, labels: dict[str, str]) -> str:
    return name + "{" + ", ".join(f'{k}="{v}"' for k, v in labels.items()) + "}"


def promtool_range(series: Sequence[Series]) -> str:
    return "\n".join(f"{braces(n, x)} =>\n" + "\n".join(f"{v} @[{t:.0f}]" for t, v in p) for n, x, p in series) + "\n"


def promtool_dump(series: Sequence[Series]) -> str:
    return "".join(f"{braces('', {'__name__': n, **x})} {v} {t * 1000:.0f}\n" for n, x, p in series for t, v in p)


def openmetrics_dump(series: Sequence[Series]) -> str:
    return "".join(f"{braces(n, x)} {v} {t:.3f}\n" for n, x, p in series for t, v in p) + "# EOF\n"


def export(series: Sequence[Series]) -> str:
    lines = (
        {"metric": {"__name__": n, **x}, "values": [v for _, v in p], "timestamps": [int(t * 1000) for t, _ in p]}
        for n, x, p in series
    )
    return "".join(json.dumps(line) + "\n" for line in lines)


def federated(series: Sequence[Series]) -> str:
    return "".join(f"{braces(n, x)} {p[-1][1]} {p[-1][0] * 1000:.0f}\n" for n, x, p in series)


def look(text: str) -> Told:
    (told,) = read([Artefact("saved.json", data=text.encode())], no_tick)
    return told


def pasted(message: str) -> Told:
    paste = read_paste(message)
    assert paste is not None
    return paste.told


def facts(found: Told) -> dict[str, Value]:
    told: dict[str, Value] = {}
    for reading in found.readings:
        for fact in reading.facts:
            assert fact.unit == SPECS[fact.name].unit
            told.setdefault(fact.name, fact.value)
    return told


def ask(series: Sequence[Series]) -> Told:
    return look(answer(series))


# --- formats --------------------------------------------------------------------------

FORMATS = [
    answer,
    lambda s: json.dumps(json.loads(answer(s)), indent=2, sort_keys=True),  # as jq -S writes it
    lambda s: "".join(answer([one]) + "\n" for one in s),  # one query after the other into one file
    lambda s: "\ufeff" + answer(s),
    promtool_range,
    promtool_dump,
    openmetrics_dump,
    export,
]


@pytest.mark.parametrize("write", FORMATS)
def test_every_format_over_time_gives_the_same_facts(write: Callable[[Sequence[Series]], str]) -> None:
    text = write(server())
    artefact = Artefact("saved", data=text.encode())
    kind = recognise(artefact)
    assert kind is not None
    assert kind.name == "saved samples"
    (found,) = kind.read([artefact], no_tick)
    told = facts(found)

    assert (found.started, found.seconds) == (T0, 60)
    assert told[f"{GEN}.generation_tokens.rate"] == pytest.approx(40)
    assert told[f"{GEN}.requests.rate"] == pytest.approx(2)
    assert told[f"{GEN}.request.duration"] == pytest.approx(3)
    assert told[f"{GEN}.requests.waiting"] == 4
    assert told[f"{GEN}.requests.waiting.trend"] == pytest.approx(8 / 60)
    assert "5 scrapes in 60 s" in found.readings[0].source.note


def vector(series: Sequence[Series]) -> str:
    found = [{"metric": {"__name__": n, **x}, "value": [p[-1][0], str(p[-1][1])]} for n, x, p in series]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": found}})


def promtool_instant(series: Sequence[Series]) -> str:
    return "".join(f"{braces(n, x)} => {p[-1][1]} @[{p[-1][0]:.3f}]\n" for n, x, p in series)


@pytest.mark.parametrize("write", [vector, promtool_instant, federated])
def test_one_moment_gives_levels_and_means_over_the_servers_life(write: Callable[[Sequence[Series]], str]) -> None:
    told = pasted(write(server()))
    values = facts(told)

    assert values[f"{GEN}.requests.waiting"] == 8
    assert values[f"{GEN}.request.duration"] == pytest.approx((500 + 6 * 60) / (100 + 2 * 60))
    assert f"{GEN}.generation_tokens.rate" not in values
    assert "one scrape: levels of that moment, means over the whole life of the server" in told.readings[0].source.note


def test_a_federated_page_of_several_targets_is_taken_apart(tmp_path: Path) -> None:
    artefact = Artefact("page", data=federated([*server(), *node("gpu1:9100")]).encode())
    kind = recognise(artefact)
    assert kind is not None
    (found,) = kind.read([artefact], no_tick)

    assert [r.source.origin for r in found.readings] == ["chat gpu1:8000", "node gpu1:9100"]
    assert facts(found)["system.memory.available.fraction"] == 0.25


def test_several_answers_are_joined_where_they_follow_each_other() -> None:
    whole = server()
    halves = [[(n, x, p[:3]) for n, x, p in whole], [(n, x, p[2:]) for n, x, p in whole]]
    (found,) = read([Artefact(f"{i}.json", data=answer(half).encode()) for i, half in enumerate(halves)], no_tick)

    assert facts(found)[f"{GEN}.generation_tokens.rate"] == pytest.approx(40)
    assert found.seconds == 60


QUESTION = """My server is slow, why? This is what it shows:

> $ curl -s localhost:8000/metrics | grep -v bucket
> # TYPE vllm:num_requests_running gauge
> vllm:num_requests_running{model_name="m"} 4.0
2026-01-02 03:04:05 vllm:num_requests_waiting{model_name="m"} 300.0
> vllm:generation_tokens_total{model_name="m"} 1.5e+06
The KV cache (vllm:kv_cache_usage_perc) stays low. Thanks!
"""


def test_lines_of_metrics_in_a_message_are_found() -> None:
    found = pasted(QUESTION)
    assert (facts(found)[f"{GEN}.requests.waiting"], facts(found)[f"{GEN}.requests.running"]) == (300, 4)
    assert "one scrape" in found.readings[0].source.note

    twice = pasted(QUESTION + QUESTION.replace("300", "500"))
    assert facts(twice)[f"{GEN}.requests.waiting"] == 400


@pytest.mark.parametrize(
    "text",
    ["Is vllm:num_requests_waiting 5 bad?", "node_rank 3\nnode_load 5\n", "vllm_config {}\n", "vllm_flash_attn 2.7\n"],
)
def test_a_name_alone_is_no_page(text: str) -> None:
    assert read_paste(f"I see this:\n{text}") is None


# --- what is no use -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"status":"error","errorType":"bad_data","error":"no"}', "an error that Prometheus answered (bad_"),
        ('{"status":"success","data":["a","b"]}', "is a list that Prometheus answered, without samples; save"),
        ('{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}', "is a single value that Prometheus"),
        ('{"status":"success","data":{"resultType":"matrix","result":[]}}', "without any series; ask for metrics"),
        (answer([("up", {"job": "x"}, [(T0, 1.0)])]), "no metrics of a kind that is known here (vLLM, SGLang"),
        (answer([("", {"job": "x"}, [(T0, 1.0)])]), "no metrics of a kind that is known here"),
        (answer(server())[:-40], "begins as samples of Prometheus and is damaged"),
        (promtool_dump(server())[:-40] + "\nnot a sample\n", "is damaged"),
        (answer(server()).replace('"4"', '"four"'), "is damaged"),
        ('{"status":"success","data":{"resultType":"matrix","result":' + "[" * 100_000, "is damaged"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_sentence(text: str, said: str) -> None:
    kind = recognise(Artefact("saved.json", data=text.encode()))
    assert kind is not None
    assert kind.name == "saved samples"
    with pytest.raises(InputError) as caught:
        look(text)
    assert str(caught.value).startswith("saved.json ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"schema": 1, "facts": {}}',
        '{"traceEvents": []}',
        '{"status": "ok"}',
        "const f = (x) =>\n  x",
        "a => b",
        "vllm:x 1\n",
    ],
)
def test_other_texts_are_not_taken_for_samples(text: str) -> None:
    kind = recognise(Artefact("x", data=text.encode()))
    assert kind is None or kind.name != "saved samples"


def test_a_web_page_where_metrics_were_expected() -> None:
    page = b"<!DOCTYPE html>\n<html><head><title>\n  Grafana\n</title></head><body>Log in</body></html>"
    kind = recognise(Artefact("metrics.html", data=page))
    assert kind is not None
    with pytest.raises(InputError) as caught:
        kind.read([Artefact("metrics.html", data=page)], no_tick)
    assert str(caught.value).startswith(
        "metrics.html is a web page (Grafana), as a login or an error shows, and holds no "
    )


def test_values_that_are_no_numbers_are_left_out() -> None:
    gone = answer(server()).replace('"4"', '"NaN"', 2).replace('"4"', '"+Inf"', 1)
    assert facts(look(gone))[f"{GEN}.requests.running"] == 4


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.binary(max_size=4), st.sampled_from([answer, promtool_range, promtool_dump, export]))
def test_damage_gives_facts_or_one_sentence(at: int, junk: bytes, write: Callable[[Sequence[Series]], str]) -> None:
    data = write(server(steps=2)).encode()
    at %= len(data)
    for broken in (data[:at], data[:at] + junk + data[at + len(junk) :]):
        try:
            (found,) = read([Artefact("x", data=broken)], no_tick)
        except InputError:
            continue
        assert found.readings


# --- time -----------------------------------------------------------------------------


def test_a_counter_that_was_reset_in_between() -> None:
    series = server()
    name, labels, points = series[2]
    series[2] = (name, labels, [(t, v if i < 3 else 40.0 * (i - 2)) for i, (t, v) in enumerate(points)])
    told = facts(ask(series))

    assert told[f"{GEN}.generation_tokens.rate"] == pytest.approx((2 * 600 + 40 + 40) / 60)


def test_a_long_history_is_thinned_and_its_rates_stay_exact() -> None:
    found = ask(server(steps=4001, gap=1.0))
    (reading,) = found.readings

    assert facts(found)[f"{GEN}.generation_tokens.rate"] == pytest.approx(40)
    assert f"{MAX_PAGES} scrapes in 4e+03 s" in reading.source.note
    assert len(reading.series[f"{GEN}.generation_tokens.rate"].t) == MAX_PAGES - 1


def test_a_picture_shows_what_happened_when() -> None:
    series = ask(server()).readings[0].series

    assert series[f"{GEN}.generation_tokens.rate"].t == (15, 30, 45, 60)
    assert series[f"{GEN}.generation_tokens.rate"].v == pytest.approx((40, 40, 40, 40))
    assert series[f"{GEN}.requests.waiting"].v == (1, 3, 5, 7)  # means between two scrapes


def test_targets_of_one_scrape_whose_samples_have_times_of_their_own() -> None:
    shifted = [(n, x, [(t + 0.01 * i, v) for t, v in p]) for i, (n, x, p) in enumerate(server())]

    assert facts(ask(shifted))[f"{GEN}.generation_tokens.rate"] == pytest.approx(40, rel=0.005)
    assert facts(ask(shifted))[f"{GEN}.requests.running"] == 4


def test_a_replica_that_died_runs_nothing_any_more() -> None:
    died = [(n, {**x, "instance": "gpu2:8000"}, p[:2]) for n, x, p in server()]
    told = facts(ask([*server(), *died]))

    assert told[f"{GEN}.requests.running"] == pytest.approx((8 + 8 + 8 + 4 + 4) / 5, abs=0.9)
    assert told[f"{GEN}.generation_tokens.rate"] == pytest.approx(40 + 40 * 15 / 60)


def test_a_replica_that_came_later_does_not_bring_its_past() -> None:
    late = [(n, {**x, "instance": "gpu2:8000"}, p[2:]) for n, x, p in server()]

    assert facts(ask([*server(), *late]))[f"{GEN}.generation_tokens.rate"] == pytest.approx(40 + 40 * 30 / 60)


# --- which targets --------------------------------------------------------------------


def origins(found: Told, state: str = "ok") -> list[str]:
    return [r.source.origin for r in found.readings if r.source.state == state]


def test_replicas_add_up_and_copies_of_one_target_do_not() -> None:
    second = [(n, {**x, "instance": "gpu2:8000"}, p) for n, x, p in server()]
    copies = [(n, {**x, "prometheus_replica": r}, p) for n, x, p in server() for r in ("a", "b")]

    assert facts(ask([*server(), *second]))[f"{GEN}.generation_tokens.rate"] == pytest.approx(80)
    assert facts(ask(copies))[f"{GEN}.generation_tokens.rate"] == pytest.approx(40)
    assert facts(ask(copies))[f"{GEN}.requests.running"] == 4


@pytest.mark.parametrize(
    ("other", "label"),
    [
        ({"job": "embed", "instance": "gpu2:8000"}, "job"),
        ({**CHAT, "instance": "gpu2:8000", "model_name": "n"}, "model_name"),
    ],
)
def test_it_has_to_be_said_which_of_several_services_is_meant(other: dict[str, str], label: str) -> None:
    series = [*server(), *server(other)]
    with pytest.raises(InputError, match=rf"has 2 services \((chat, embed|m, n)\); save them for one {label} only"):
        ask(series)
    with pytest.raises(InputError, match=rf"say which with --select '{{{label}=\"...\"}}'"):
        read_answers([answer(series)], "http://p:9090", "p", ())


def test_the_machine_and_the_gpus_of_a_service_are_known_by_their_host() -> None:
    others = [*node("gpu2:9100"), *node("10.0.0.7:9100", node="gpu1"), *node("gpu3:9100")]
    gpus = [*dcgm("10.1.1.1:9400", "gpu1", 5000.0), *dcgm("10.1.1.2:9400", "gpu9", 70_000.0)]
    found = ask([*server(), *others, *gpus])

    assert origins(found) == ["chat gpu1:8000", "dcgm 10.1.1.1:9400", "node 10.0.0.7:9100"]
    assert facts(found)["hw.gpu.memory.usage"] == 5000 * 2**20
    assert [r.source.note for r in found.readings if r.source.state == "absent"] == [
        "1 exporters of GPUs and 2 machines left out: it cannot be told which of them belongs to this"
    ]


def test_machines_that_cannot_be_told_apart_are_left_out() -> None:
    found = ask([*server(), *node("a:9100"), *node("b:9100")])
    assert origins(found) == ["chat gpu1:8000"]
    assert origins(found, "absent") == ["saved.json"]

    with pytest.raises(
        InputError, match=r"has 2 machines \(node a:9100, node b:9100\); save them for one instance only"
    ):
        ask([*node("a:9100"), *node("b:9100")])


def test_the_only_machine_is_the_one() -> None:
    found = ask([*server(), *node("10.0.0.7:9100")])

    assert origins(found) == ["chat gpu1:8000", "node 10.0.0.7:9100"]
    assert facts(found)["system.cpu.utilization"] == pytest.approx(0.75)


def test_warnings_of_the_server_are_handed_on() -> None:
    text = answer(server(), warnings=["partial response: store gateway 2 is down"])
    readings: tuple[Reading, ...] = look(text).readings

    assert "partial response: store gateway 2 is down" in readings[0].source.note
