"""A Prometheus server is asked for the past: how it is found, what it is asked, and a real one from end to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metrics_server import serving, vllm
from prometheus_server import ask, node_exporter, prometheus, wait_for
from test_history import answer, server
from test_scrape import Answer, text, web

from advisor.collect.prometheus import MAX_SERIES, Prometheus, Recorded, find
from advisor.collect.prometheus_query import LEAST_SAMPLES, MAX_SAMPLES, MOST_SAMPLES, plan, selector
from advisor.errors import InputError, TooLarge
from advisor.pipeline import Advisor

GEN = "gen_ai.server"
Reply = Callable[[str, dict[str, str]], Any]
FAMILIES = ["vllm_.+", "node_.+"]


def play(reply: Reply, prefix: str = "") -> Callable[[str, Any], Answer]:
    """A server whose API answers `reply(path below /api/v1/, query)`: an object, or a string for an error."""

    def respond(path: str, headers: Any) -> Answer:
        parts = urlsplit(path)
        base, found, below = parts.path.partition("/api/v1/")
        if not found or base != prefix:
            return text("404 page not found", 404)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if query.get("query") == "1":
            return text('{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}', kind="application/json")
        said = reply(below, query)
        if isinstance(said, str):
            return text(json.dumps({"status": "error", "errorType": "x", "error": said}), 422, "application/json")
        return text(json.dumps({"status": "success", "data": said}), kind="application/json")

    return respond


def counted(names: dict[str, int], now: float = 1000.0) -> dict[str, Any]:
    found = [{"metric": {"__name__": name}, "value": [now, str(count)]} for name, count in names.items()]
    return {"resultType": "vector", "result": found}


def matrix(*times: float) -> dict[str, Any]:
    found = [{"metric": {"__name__": "vllm_x"}, "values": [[t, "1"] for t in times]}]
    return {"resultType": "matrix", "result": found}


def ordinary(below: str, query: dict[str, str], series: int = 500) -> Any:
    if below == "label/job/values":
        return ["chat", "node"]
    if below == "query_range" or query["query"].endswith("]"):
        return matrix(970.0, 985.0, 1000.0)
    return counted({"vllm_x": series} if "vllm" in query["query"] else {})


def record(url: str, **options: Any) -> Recorded:
    return Prometheus(urlsplit(url), 5.0).record(FAMILIES, "process_.+", **options)


# --- finding it -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "given"),
    [
        ("", ""),
        ("", "/"),
        ("", "/graph?g0.expr=up&g0.tab=1"),
        ("", "/api/v1/query?query=up"),
        ("/prometheus", "/prometheus"),
        ("/prometheus", "/prometheus/graph"),
        ("/prometheus", ""),  # Mimir
        ("/select/0/prometheus", "/select/0/prometheus/"),  # VictoriaMetrics
        ("/api/datasources/proxy/uid/abc", "/api/datasources/proxy/uid/abc"),  # through Grafana
    ],
)
def test_a_server_is_found_at_or_above_the_address_that_people_give(prefix: str, given: str) -> None:
    with web(play(ordinary, prefix)) as url:
        found = find(url + given)

    assert found is not None
    assert found.origin == url + prefix


@pytest.mark.parametrize(
    "other",
    [
        text("vllm:num_requests_running 3\n"),
        text("<html>Grafana", kind="text/html"),
        text('{"object":"list"}', kind="application/json"),
        text('["status"]', kind="application/json"),
        text("[" * 100_000, kind="application/json"),
        text('{"detail":"Not Found"}', 404, "application/json"),
        text("who are you", 401),
    ],
)
def test_what_answers_otherwise_is_no_prometheus(other: Answer) -> None:
    asked: list[str] = []
    with web(lambda path, _: asked.append(path) or other) as url:
        assert find(url) is None
    assert asked == ["/api/v1/query?query=1", "/prometheus/api/v1/query?query=1"]


def test_a_page_of_metrics_is_not_asked_whether_it_is_a_server() -> None:
    asked: list[str] = []
    with web(lambda path, _: asked.append(path) or text("a 1\n")) as url:
        assert find(url + "/metrics") is None
    assert asked == []
    assert find("http://127.0.0.1:9") is None


# --- what it is asked -----------------------------------------------------------------


def test_metrics_are_counted_their_pace_is_seen_and_then_they_are_asked_for() -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    def reply(below: str, query: dict[str, str]) -> Any:
        asked.append((below, query))
        return ordinary(below, query)

    with web(play(reply)) as url:
        heard: list[float] = []
        recorded = record(url, selects=['job="chat"'], seconds=60, tick=heard.append)
    first, _, pace, chat, process = asked

    assert first == ("query", {"query": 'count by (__name__) ({__name__=~"vllm_.+",job="chat"})'})
    assert pace == ("query", {"query": '{__name__=~"vllm_x",job="chat"}[10m]'})
    assert chat[0] == "query_range"
    assert chat[1]["query"] == '{__name__=~"vllm_.+",job="chat"}'
    assert process[1]["query"] == '{__name__=~"process_.+",job="chat"}'
    assert float(chat[1]["step"]) == 15
    assert float(chat[1]["end"]) - float(chat[1]["start"]) == 60
    assert len(recorded.answers) == 2
    assert recorded.notes == []
    assert heard[-1] == 1.0


def test_one_query_that_fails_costs_no_other() -> None:
    def reply(below: str, query: dict[str, str]) -> Any:
        if below == "query_range" and "process" in query["query"]:
            return "query timed out in expression evaluation"
        if query["query"].startswith("count") and "node" in query["query"]:
            return "not today"
        return "no range vectors here" if query["query"].endswith("]") else ordinary(below, query)

    with web(play(reply)) as url:
        recorded = record(url)

    assert len(recorded.answers) == 1
    assert recorded.notes == [
        f"1 queries failed: {url} does not answer a query (query timed out in expression evaluation); "
        "narrow it with --select or fewer --seconds"
    ]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (lambda p, _: counted({}) if p == "query" else ["a", "b"], "that is known here; its jobs are: a, b"),
        (lambda p, _: counted({}) if p == "query" else "no", "see what it scrapes under Status, Targets"),
        (lambda *_: "found duplicate series", "does not answer a query (found duplicate series)"),
        (lambda *_: ["x"], "answers a query with what is not understood; is it Prometheus?"),
    ],
)  # fmt: skip
def test_what_a_server_cannot_give_is_one_sentence(reply: Reply, said: str) -> None:
    with web(play(reply)) as url, pytest.raises(InputError) as caught:
        record(url)
    assert str(caught.value).startswith(url)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "odd",
    [
        [1], [{}], [{"metric": {}, "value": [1, "1"]}], [{"metric": {"__name__": "vllm_x"}, "value": [1, "Inf"]}], 3,
        [{"metric": {"__name__": "vllm_x"}, "value": [float("inf"), "1"]}], [{"metric": 3, "value": []}],
    ],
)  # fmt: skip
def test_answers_of_another_form_end_in_one_sentence(odd: object) -> None:
    counts = lambda *_: {"resultType": "vector", "result": odd}  # noqa: E731
    with web(play(counts)) as url, pytest.raises(InputError):
        record(url)

    def pace(below: str, query: dict[str, str]) -> Any:
        return {"resultType": "matrix", "result": odd} if query["query"].endswith("]") else ordinary(below, query)

    with web(play(pace)) as url:
        assert record(url).answers


def test_too_many_series_are_not_asked_for() -> None:
    with (
        web(play(lambda b, q: ordinary(b, q, 100_000))) as url,
        pytest.raises(TooLarge, match=r"has 100,000 series, more than 60,000; narrow it with --select.* chat, node"),
    ):
        record(url)


def test_a_flood_and_a_redirect_to_another_host_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advisor.collect.http.MAX_BYTES", 1000)
    with (
        web(play(lambda *_: counted({f"vllm_{i}": 1 for i in range(100)}))) as url,
        pytest.raises(TooLarge, match="more than 1,000 bytes"),
    ):
        record(url)
    with web(lambda *_: (302, {"Location": "http://other.example/"}, b"")) as url:
        assert find(url) is None


@pytest.mark.parametrize(
    "good", ["{job='a'}".replace("'", '"'), 'job="a"', ' { job = "a" , } ', '{a=~"x,}y",b!="\\""}']
)
def test_matchers(good: str) -> None:
    assert selector(selector(good)) == selector(good)


@pytest.mark.parametrize(
    "bad", ["", "{}", "vllm", "{job=vllm}", "{job='a'}", '{job="a"} or up', '{job="a"}[5m]', '{"a"="b"']
)
def test_what_selects_nothing_is_one_sentence(bad: str) -> None:
    with pytest.raises(InputError, match="selects nothing; give labels as in"):
        selector(bad)


@given(
    st.floats(1e6, 2e9),
    st.floats(0.1, 86_400),
    st.sampled_from([0.5, 1, 5, 10, 15, 30, 60, 120]),
    st.lists(st.floats(0, 600), max_size=6),
    st.integers(1, MAX_SERIES),
)
def test_moments_hold_whole_scrapes_and_few_samples(
    now: float, seconds: float, interval: float, ages: list[float], series: int
) -> None:
    span = plan(now, seconds, interval, [now - age for age in ages], series)
    count = (span.end - span.start) / span.step

    assert span.step / interval == pytest.approx(round(span.step / interval))
    assert LEAST_SAMPLES - 1e-3 <= count <= MOST_SAMPLES + 1e-3
    assert count * series <= MAX_SAMPLES * 1.001 or count < LEAST_SAMPLES + 1
    assert now - interval - 1e-3 <= span.end <= now + 1e-3
    assert span.end - span.start >= min(seconds, 1.0) - 1e-3


# --- the whole way --------------------------------------------------------------------


def whole(below: str, query: dict[str, str]) -> Any:
    if below == "query_range":
        return json.loads(answer(server() if "vllm" in query["query"] else []))["data"]
    return ordinary(below, query)


def test_pages_and_servers_are_looked_at_together() -> None:
    with web(play(whole)) as url, serving(lambda _: []) as empty, web(lambda *_: text("node_load1 3\n")) as page:
        seen = Advisor().diagnose_endpoint(url, 0.2, [page + "/metrics", empty])

    states = {s.origin: s.state for s in seen.profile.sources}
    assert states["chat gpu1:8000"] == states[page + "/metrics"] == "ok"
    assert states[empty] == "unreadable"
    assert seen.profile.facts[f"{GEN}.generation_tokens.rate"].value == pytest.approx(40)


def test_a_server_that_knows_nothing_does_not_stop_a_page() -> None:
    with web(play(lambda *_: counted({}))) as url, web(lambda *_: text("vllm:num_requests_running 3\n")) as page:
        seen = Advisor().diagnose_endpoint(url, 0.2, [page + "/metrics"])

    assert [(s.origin, s.state) for s in seen.profile.sources] == [(page + "/metrics", "ok"), (url, "unreadable")]


def test_a_selection_needs_a_server() -> None:
    with (
        web(lambda *_: text("a 1\n")) as url,
        pytest.raises(InputError, match="--select is for Prometheus servers, and"),
    ):
        Advisor().diagnose_endpoint(url + "/metrics", 0.2, select=['{job="a"}'])


# --- a real one -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A Prometheus that scrapes a real node_exporter and two stand-ins of vLLM; the address of the first."""
    folder = tmp_path_factory.mktemp("prometheus")
    busy = lambda n: vllm(n, waiting=120, queue=3.0, ttft=3.4, duration=9.0, cache=0.95)  # noqa: E731
    with ExitStack() as stack:
        pages = [urlsplit(stack.enter_context(serving(page))).netloc for page in (busy, vllm)]
        jobs = {"chat": pages[:1], "embed": pages[1:], "node": [stack.enter_context(node_exporter())]}
        url = stack.enter_context(prometheus(folder, jobs, "500ms", "/prometheus"))
        enough = "count_over_time(up[30s])>=8"
        wait_for(lambda: len(ask(url, enough)) == 3)
        yield url, pages[0]


def test_a_real_server_is_read_by_the_code_that_reads_pages(real: tuple[str, str]) -> None:
    url, chat = real
    seen = Advisor().diagnose_endpoint(url, 3, select=['{job="chat"}', '{job="node"}'])
    facts = {name: fact.value for name, fact in seen.profile.facts.items()}

    assert [f.rule.id for f in seen.findings][:1] == ["queue-buildup"]
    assert facts[f"{GEN}.generation_tokens.rate"] == pytest.approx(8000, rel=0.005)
    assert facts[f"{GEN}.requests.rate"] == pytest.approx(20, rel=0.005)
    assert facts[f"{GEN}.time_to_first_token"] == pytest.approx(3.4)
    assert facts[f"{GEN}.requests.waiting"] == 120
    assert facts["system.cpu.logical.count"] == os.cpu_count()
    assert facts["system.memory.limit"] == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < float(facts["system.cpu.utilization"]) <= 1
    assert seen.profile.duration_s == pytest.approx(3, abs=0.01)
    assert seen.profile.facts[f"{GEN}.requests.waiting"].origin == f"chat {chat}"
    assert len(seen.profile.series[f"{GEN}.generation_tokens.rate"].v) == 6
    assert seen.profile.subject == f"{url} --select '{{job=\"chat\"}}' --select '{{job=\"node\"}}'"
    assert seen.errors == ()


def test_a_real_server_with_two_services_asks_which(real: tuple[str, str]) -> None:
    with pytest.raises(
        InputError, match=r"has 2 services \(chat, embed\); say which with --select '\{job=\"\.\.\.\"\}'"
    ):
        Advisor().diagnose_endpoint(real[0], 5)


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "ADVISOR_DATA": str(home), "LANG": "C.UTF-8", "LC_ALL": "", "COLUMNS": "200"}


def test_the_command_looks_back_and_says_how_to_look_again(real: tuple[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "advisor", "diagnose", real[0] + "/graph?g0.expr=up", "--select", '{job="chat"}']
    done = subprocess.run(
        [*command, "--seconds", "3"], capture_output=True, text=True, env=environment(tmp_path), timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "Requests queue faster than they are served" in done.stdout
    assert f"advisor diagnose {real[0]} --select '{{job=\"chat\"}}' --seconds 3" in " ".join(done.stdout.split())


def test_watching_a_real_server(real: tuple[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "advisor", "diagnose", real[0], "--select", 'job="chat"', "--watch", "--json"]
    watcher = subprocess.Popen(
        [*command, "--seconds", "1"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    began = time.monotonic()
    seen = [json.loads(watcher.stdout.readline()) for _ in range(2)]
    took = time.monotonic() - began
    watcher.send_signal(signal.SIGINT)
    _, errors = watcher.communicate(timeout=60)

    assert (watcher.returncode, errors) == (0, "")
    assert took >= 1
    assert seen[0]["profile"]["started"] < seen[1]["profile"]["started"]


def test_no_selection_without_an_address(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "advisor", "diagnose", "--select", '{job="a"}']
    done = subprocess.run(command, capture_output=True, text=True, env=environment(tmp_path), timeout=60, check=False)

    assert done.returncode == 2
    assert (
        done.stderr == "advisor: --select is for Prometheus servers; give the address of one, as in http://HOST:9090\n"
    )
