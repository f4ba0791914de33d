"""The REST routes over a stand-in advisor: what they give, and what they say to input that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from standin import RULE_ID, StandIn
from starlette.testclient import TestClient

from advisor.serve import create_app

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def advisor() -> StandIn:
    return StandIn()


@pytest.fixture(scope="module")
def client(advisor: StandIn) -> Iterator[TestClient]:
    with TestClient(create_app(advisor), base_url="http://127.0.0.1:8321") as client:  # type: ignore[arg-type]
        yield client


def sse(text: str) -> list[tuple[str, dict]]:
    """Events of a whole stream as (name, data)."""
    frames = [dict(line.split(": ", 1) for line in frame.splitlines()) for frame in text.strip().split("\n\n")]
    return [(f["event"], json.loads(f["data"])) for f in frames]


def test_ask_gives_the_answer_document(client: TestClient, advisor: StandIn) -> None:
    response = client.post("/api/v1/ask", json={"question": "why slow?\r\nlog", "profile": "p-vllm"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["topics"][0]["id"] == "dataloader_bottleneck"
    assert advisor.asked[-1] == ("why slow?\nlog", None, "p-vllm")


def test_ask_passes_the_history_on(client: TestClient, advisor: StandIn) -> None:
    body = {"question": "why not the disk?", "history": ["why slow?", "为什么慢"]}

    assert client.post("/api/v1/ask", json=body).status_code == 200
    assert advisor.histories[-1] == ["why slow?", "为什么慢"]


@pytest.mark.parametrize("history", ["why", [1], [None], {"a": "b"}])
def test_a_history_is_a_list_of_texts(client: TestClient, history: object) -> None:
    response = client.post("/api/v1/ask", json={"question": "why", "history": history})

    assert response.status_code == 422
    assert "history" in response.json()["detail"]


def test_ask_streams_meta_blocks_done(client: TestClient) -> None:
    headers = {"accept": "text/event-stream"}
    response = client.post("/api/v1/ask", json={"question": "为什么慢", "lang": "zh-Hans"}, headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = sse(response.text)
    whole = client.post("/api/v1/ask", json={"question": "为什么慢", "lang": "zh-Hans"}).json()
    assert events[0] == ("meta", {"kind": "diagnosis", "lang": "zh-Hans"})
    assert [data for name, data in events if name == "block"] == whole["blocks"]
    del whole["blocks"]
    assert events[-1] == ("done", whole)


def test_a_stream_that_fails_says_so_in_the_stream(
    client: TestClient, advisor: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advisor, "answer_document", lambda _: {})
    events = sse(client.post("/api/v1/ask", json={"question": "why"}, headers={"accept": "text/event-stream"}).text)
    assert [name for name, _ in events] == ["meta", "error"]
    assert events[-1][1]["status"] == 500


def test_diagnose_stores(client: TestClient) -> None:
    response = client.post("/api/v1/diagnose", json={"schema": 1, "profile": {"id": "p-new", "subject": "mine"}})
    assert response.status_code == 200
    assert response.json()["profile"]["id"] == "p-new"
    assert client.get(response.headers["location"]).json() == response.json()
    assert client.get("/api/v1/profiles/p-new").json()["subject"] == "mine"
    assert "p-new" in [p["id"] for p in client.get("/api/v1/profiles").json()]
    assert len(client.get("/api/v1/profiles?limit=1").json()) == 1


@pytest.mark.parametrize(
    ("suffix", "media", "start"),
    [(".md", "text/markdown", "# 每一步"), (".html", "text/html", "<!doctype"), (".json", "application/json", "{")],
)
def test_reports(client: TestClient, suffix: str, media: str, start: str) -> None:
    response = client.get(f"/api/v1/diagnoses/p-finetune{suffix}?lang=zh-Hans")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(media)
    assert response.text.startswith(start)


def test_the_html_report_may_style_itself_and_run_nothing(client: TestClient) -> None:
    policy = client.get("/api/v1/diagnoses/p-finetune.html").headers["content-security-policy"]
    assert "style-src 'unsafe-inline'" in policy
    assert "script" not in policy
    assert policy.startswith("default-src 'none'")


def test_knowledge(client: TestClient) -> None:
    (entry,) = client.get("/api/v1/rules").json()
    assert entry["id"] == RULE_ID
    rule = client.get(f"/api/v1/rules/{RULE_ID}").json()
    assert rule["when"]["all"] == ["config.dataloader.num_workers == 0"]
    assert rule["references"][0]["url"].startswith("https://")
    assert client.get("/api/v1/topics").json()[0]["title"]["zh"] == "数据加载在训练进程内执行"


def test_health(client: TestClient) -> None:
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok", "knowledge": "2026.1", "rules": 1}


BAD = [
    ("/api/v1/ask", b"{", "application/json", 400),
    ("/api/v1/ask", b"\xff\xfe", "application/json", 400),
    ("/api/v1/ask", b"[]", "application/json", 422),
    ("/api/v1/ask", b"", "application/json", 422),
    ("/api/v1/ask", b'{"question": 1}', "application/json", 422),
    ("/api/v1/ask", b'{"question": "x", "extra": 1}', "application/json", 422),
    ("/api/v1/ask", b'{"question": "x", "lang": "fr"}', "application/json", 422),
    ("/api/v1/ask", b'{"question": " \\n "}', "application/json", 422),
    ("/api/v1/ask", b'{"question": "a\\u0000b"}', "application/json", 422),
    ("/api/v1/ask", b'{"question": "a\\ud800b"}', "application/json", 422),
    ("/api/v1/ask", b'{"question": "x", "profile": "none"}', "application/json", 404),
    ("/api/v1/ask", json.dumps({"question": "x" * 500_001}).encode(), "application/json", 413),
    ("/api/v1/ask", json.dumps({"question": "x" * 1_000_000}).encode(), "application/json", 413),
    ("/api/v1/ask", b'{"question": "x"}', "text/plain", 415),
    ("/api/v1/ask", b'{"question": "x"}', None, 415),
    ("/api/v1/ask", b"[" * 100_000, "application/json", 400),
    ("/api/v1/diagnose", b"no", "application/json", 400),
    ("/api/v1/diagnose", b"[" * 100_000, "application/json", 400),
    ("/api/v1/diagnose", b'{"schema": 7}', "application/json", 422),
    ("/api/v1/nothing", b"{}", "application/json", 404),
]


@pytest.mark.parametrize(("path", "body", "media", "status"), BAD)
def test_bad_input_gets_one_sentence(
    client: TestClient, path: str, body: bytes, media: str | None, status: int
) -> None:
    response = client.post(path, content=body, headers={"content-type": media} if media else {})
    problem = response.json()
    assert response.status_code == problem["status"] == status
    assert response.headers["content-type"] == PROBLEM
    assert {"type", "title", "status", "detail", "instance"} <= set(problem)
    assert problem["instance"] == path
    assert problem["detail"].endswith(".")
    assert "Traceback" not in response.text


def test_bad_input_changes_nothing(client: TestClient, advisor: StandIn) -> None:
    before = (dict(advisor.kept), list(advisor.asked))
    for path, body, media, status in BAD:
        if status != 404:
            client.post(path, content=body, headers={"content-type": media} if media else {})
    assert (dict(advisor.kept), list(advisor.asked)) == before


def test_terminal_colours_in_a_pasted_log_are_dropped(client: TestClient, advisor: StandIn) -> None:
    assert client.post("/api/v1/ask", json={"question": "\x1b[31mOOM\x1b[0m why?"}).status_code == 200
    assert advisor.asked[-1][0] == "OOM why?"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/v1/ask", "POST"),
        ("DELETE", "/api/v1/rules", "GET"),
        ("PUT", "/", "GET, POST"),
        ("POST", "/livez", "GET"),
    ],
)
def test_a_wrong_method_names_the_right_ones(client: TestClient, method: str, path: str, allow: str) -> None:
    response = client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allow
    assert response.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(
    "path",
    ["/api/v1/rules/none", "/api/v1/profiles/none", "/api/v1/diagnoses/none", "/api/v1/diagnoses/none.md", "/docs"],
)
def test_what_is_not_there(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (404, PROBLEM)


def test_a_bug_is_a_problem_without_its_traceback(
    client: TestClient, advisor: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advisor, "ask", lambda *_, **__: 1 / 0)
    response = client.post("/api/v1/ask", json={"question": "why"})
    assert (response.status_code, response.headers["content-type"]) == (500, PROBLEM)
    assert "division" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"


def test_openapi_documents_problems_with_their_media_type(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operations = [o for path in document["paths"].values() for o in path.values()]
    assert {o["operationId"] for o in operations} >= {"ask", "diagnose", "profiles", "rules", "topics", "livez"}
    for operation in operations:
        for status, response in operation["responses"].items():
            if status != "200":
                assert list(response["content"]) == [PROBLEM], (operation["operationId"], status)
    assert {"Problem", "Fault", "AskRequest", "AnswerDocument"} <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert set(document["paths"]["/api/v1/ask"]["post"]["responses"]["200"]["content"]) == {
        "application/json",
        "text/event-stream",
    }
