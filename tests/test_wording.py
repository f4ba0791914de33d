"""Rewording by an endpoint: what it is told, and that only a faithful text is shown. A real server on loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from advisor.answer.redact import Redacted
from advisor.answer.wording import MAX_REPLY, Wording, faithful, from_environment
from advisor.models import Answer, Reference, Scored

URL = "https://docs.pytorch.org/docs/stable/data.html"
TEXT = f"""## Data loading is slow

70 % of every step waits, 552 ms of 788 ms. The log is /home/ann/runs/train.log on 10.1.2.3.

```
DataLoader(..., num_workers=3)
```

Verify with `advisor run -- python train.py`. Sources: `Rule dataloader-no-workers` · [torch.utils.data]({URL})
"""
ANSWER = Answer(
    "diagnosis", "en", TEXT, (Scored("dataloader_bottleneck", 0.9),), ("dataloader-no-workers",), None,
    (Reference("torch-utils-data", "torch.utils.data", URL, "PyTorch", "workers", read=True),),
)  # fmt: skip
Reply = Callable[[BaseHTTPRequestHandler, str], None]


class Endpoint:
    """A server that plays a model: `reply` writes the whole HTTP response."""

    def __init__(self) -> None:
        self.reply: Reply = say(lambda text: text)
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                endpoint.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                text = body["messages"][1]["content"].removeprefix("=====\n").removesuffix("\n=====")
                try:
                    endpoint.reply(self, text)
                except OSError:  # the client has given up
                    return

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def say(change: Callable[[str], object]) -> Reply:
    def reply(handler: BaseHTTPRequestHandler, text: str) -> None:
        send(handler, json.dumps({"choices": [{"message": {"content": change(text)}}]}).encode())

    return reply


def raw(body: bytes, status: int = 200) -> Reply:
    return lambda handler, _: send(handler, body, status)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


def test_a_faithful_rewording_is_shown(endpoint: Endpoint) -> None:
    endpoint.reply = say(lambda text: text.replace("Data loading is slow", "The loader holds training up"))

    reworded = Wording(endpoint.url, "m", "k1").reworded(ANSWER)

    assert reworded.text == TEXT.replace("Data loading is slow", "The loader holds training up")
    assert reworded.rules == ANSWER.rules
    path, headers, body = endpoint.seen[0]
    assert (path, headers["authorization"], body["model"]) == ("/v1/chat/completions", "Bearer k1", "m")


def test_names_do_not_leave_the_machine(endpoint: Endpoint) -> None:
    Wording(endpoint.url, "m").reworded(ANSWER)

    sent = json.dumps(endpoint.seen)
    assert "ann" not in sent
    assert "10.1.2.3" not in sent
    assert URL in sent


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("70 %", "71 %"),
        ("552 ms of 788 ms", "788 ms of 552 ms"),
        ("552 ms", "552 s"),
        ("num_workers=3", "num_workers=8"),
        ("dataloader-no-workers", "dataloader-too-few-workers"),
        ("advisor run -- python train.py", "rm -rf /"),
        (URL, "https://example.com"),
        ("<<path-1>>", "the log"),
        ("The log is", "Also raise 4 limits. The log is"),
        ("The log is", "See https://example.com. The log is"),
        (TEXT[:24], "数据加载太慢，请看下面的说明，"),
        ("The log is", "word " * 400),
    ],
)
def test_a_text_that_changes_what_was_proven_is_not_shown(endpoint: Endpoint, before: str, after: str) -> None:
    endpoint.reply = say(lambda text: text.replace(before, after))

    assert Wording(endpoint.url, "m").reworded(ANSWER) == ANSWER
    assert before in endpoint.seen[0][2]["messages"][1]["content"]


def trickle(handler: BaseHTTPRequestHandler, text: str) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "100000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


@pytest.mark.parametrize(
    "reply",
    [
        raw(b"not json"),
        raw(b"[" * 100_000),
        raw(b"\xff\xfe"),
        raw(b'{"choices": []}'),
        raw(b'{"choices": [{"message": {"content": 5}}]}'),
        raw(b"null"),
        raw(b"busy", 503),
        raw(b" " * (MAX_REPLY + 10)),
        say(lambda _: ""),
        say(lambda text: text + "x" * 900_000),
    ],
)
def test_a_broken_endpoint_costs_nothing(endpoint: Endpoint, reply: Reply) -> None:
    endpoint.reply = reply

    assert Wording(endpoint.url, "m").reworded(ANSWER) == ANSWER
    assert endpoint.seen


def test_a_redirect_is_not_followed(endpoint: Endpoint) -> None:
    other = Endpoint()

    def reply(handler: BaseHTTPRequestHandler, text: str) -> None:
        handler.send_response(307)
        handler.send_header("location", f"{other.url}/chat/completions")
        handler.send_header("content-length", "0")
        handler.end_headers()

    endpoint.reply = reply
    assert Wording(endpoint.url, "m").reworded(ANSWER) == ANSWER
    assert other.seen == []
    other.close()


@pytest.mark.parametrize("reply", [trickle, lambda *_: time.sleep(5)])
def test_a_slow_endpoint_is_not_waited_for(endpoint: Endpoint, reply: Reply) -> None:
    endpoint.reply = reply
    began = time.monotonic()

    assert Wording(endpoint.url, "m", timeout_s=0.5).reworded(ANSWER) == ANSWER
    assert time.monotonic() - began < 3


def test_nobody_there() -> None:
    assert Wording("http://127.0.0.1:9/v1", "m").reworded(ANSWER) == ANSWER


def test_it_is_off_until_somebody_names_an_endpoint() -> None:
    assert from_environment({}) is None
    assert from_environment({"ADVISOR_WORDING_URL": "http://a/v1"}) is None
    assert from_environment({"ADVISOR_WORDING_URL": "file:///etc/passwd", "ADVISOR_WORDING_MODEL": "m"}) is None
    found = from_environment({"ADVISOR_WORDING_URL": "http://a/v1", "ADVISOR_WORDING_MODEL": "m"})
    assert found == Wording("http://a/v1", "m")


def test_an_answer_is_reworded_where_an_endpoint_is_named(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from advisor.pipeline import Advisor

    monkeypatch.setenv("ADVISOR_WORDING_URL", endpoint.url)
    monkeypatch.setenv("ADVISOR_WORDING_MODEL", "m")
    endpoint.reply = say(lambda text: text.replace("They are not slow; they wait", "They wait; they are not slow"))

    answer = Advisor(data=tmp_path).ask("why is .item() so slow?")

    assert "They wait; they are not slow" in answer.text
    assert answer.rules


@pytest.mark.parametrize(
    "name",
    [
        "sk-abcdefghijklmnop", "hf_abcdefghijklmnop", "ann@example.org", "192.168.0.12:8000", "/data/ann/x.py",
        "node7.cluster.internal", "AKIAABCDEFGHIJKLMNOP",
    ],
)  # fmt: skip
def test_what_names_a_person_or_a_place_is_hidden_and_put_back(name: str) -> None:
    hidden = Redacted(f"see {name} and {name} there")

    assert name not in hidden.text
    assert len(hidden.marks) == 1
    assert hidden.restore(hidden.text) == f"see {name} and {name} there"


@pytest.mark.parametrize("text", ["12.5 GB/s at 1.96x", "step/s and tokens/s", "/rules/dataloader-no-workers 3/4"])
def test_what_is_no_name_stays(text: str) -> None:
    assert faithful(text, text)
    assert "12.5" not in text or Redacted(text).text == text
