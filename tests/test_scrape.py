"""The live scrape over real HTTP: what is fetched, how often, and one sentence for everything that can go wrong."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from metrics_server import serving, vllm

from advisor.collect import http
from advisor.collect.scrape import Scraped, scrape
from advisor.errors import InputError, TooLarge
from advisor.pipeline import Advisor

PAGE = "vllm:num_requests_running 3\n"
Answer = tuple[int, dict[str, str], bytes]
NODE_EXPORTER = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def web(answer: Callable[[str, Any], Answer]) -> Iterator[str]:
    """A web server whose answers a test makes: status, headers, body of a path and the request's headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self.path, self.headers)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def text(body: str, status: int = 200, kind: str = "text/plain; version=0.0.4") -> Answer:
    return status, {"Content-Type": kind}, body.encode()


def once(*urls: str, **options: float) -> list[Scraped]:
    return scrape(urls, 0.05, **options)


def test_a_page_is_taken_at_the_start_and_at_the_end() -> None:
    with web(lambda *_: text(PAGE)) as url:
        began = time.monotonic()
        (got,) = scrape([url + "/metrics"], 0.3)
        took = time.monotonic() - began

    assert [page for _, page in got.pages] == [PAGE, PAGE]
    assert 0.3 <= got.pages[1][0] - got.pages[0][0] <= took
    assert got.note == ""


def test_progress_goes_to_the_end() -> None:
    heard: list[float] = []
    with web(lambda *_: text(PAGE)) as url:
        scrape([url], 0.05, heard.append)

    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_a_bare_address_means_its_metrics_page() -> None:
    asked: list[str] = []
    with web(lambda path, _: asked.append(path) or text(PAGE)) as url:
        (got,) = once(url)

    assert set(asked) == {"/metrics"}
    assert got.origin == url + "/metrics"


@pytest.mark.parametrize(
    "wrong", [text("<html>hello", kind="text/html"), text("{}", kind="application/json"), text("", 404)]
)
def test_metrics_are_looked_for_once_below_another_address(wrong: Answer) -> None:
    with web(lambda path, _: text(PAGE) if path == "/app/metrics" else wrong) as url:
        (got,) = once(url + "/app")
    assert got.origin == url + "/app/metrics"
    assert len(got.pages) == 2

    asked: list[str] = []
    with web(lambda path, _: asked.append(path) or wrong) as url, pytest.raises(InputError) as caught:
        once(url + "/app")
    assert asked == ["/app", "/app/metrics"]
    assert str(caught.value).startswith(f"{url}/app ")


def test_gzip_is_unpacked_and_asked_for() -> None:
    def answer(path: str, headers: Any) -> Answer:
        assert headers["Accept-Encoding"] == "gzip"
        return 200, {"Content-Encoding": "gzip"}, gzip.compress(PAGE.encode())

    with web(answer) as url:
        assert once(url)[0].pages[0][1] == PAGE


def test_credentials_are_sent_and_never_shown() -> None:
    def answer(path: str, headers: Any) -> Answer:
        if headers["Authorization"] == "Basic " + base64.b64encode(b"me:secret").decode():
            return text(PAGE)
        return text("who are you", 401)

    with web(answer) as url:
        (got,) = once(url.replace("http://", "http://me:secret@") + "/metrics?token=abc")
        assert got.origin == url + "/metrics"
        with pytest.raises(InputError, match=r"/metrics refuses \(HTTP 401\); give credentials") as caught:
            once(url.replace("http://", "http://me:wrong@"))
    assert "wrong" not in str(caught.value)


def test_a_redirect_is_followed_on_the_same_host_only() -> None:
    with web(lambda path, _: (302, {"Location": "/m"}, b"") if path == "/metrics" else text(PAGE)) as url:
        assert once(url)[0].pages[0][1] == PAGE
    away = {"Location": "http://other.example/metrics"}
    with web(lambda *_: (302, away, b"")) as url, pytest.raises(InputError) as caught:
        once(url)
    assert str(caught.value) == (
        f"{url}/metrics redirects to another host; if that is meant, give its address: http://other.example/metrics"
    )


@pytest.mark.parametrize("proxy", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_proxy_is_not_asked(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    with web(lambda *_: text(PAGE)) as url:
        assert once(url)[0].pages


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            text("<!doctype html><title>x", kind="text/html"),
            "answers with a web page, not with metrics; give the address",
        ),
        (text("<html>", kind="text/plain"), "answers with a web page, not with metrics"),
        (text('{"object": "list"}', kind="application/json"), "answers with JSON, not with metrics"),
        (text("", 404), "has no such page (HTTP 404); switch the server's metrics on"),
        (text("", 503), "answers HTTP 503; look at the server's log"),
        ((200, {"Content-Encoding": "gzip"}, gzip.compress(PAGE.encode())[:-9]), "the compressed answer is cut off"),
        ((200, {"Content-Encoding": "gzip"}, b"not gzip at all"), "cannot be read"),
    ],
)
def test_what_is_no_page_of_metrics_is_one_sentence(answer: Answer, said: str) -> None:
    with web(lambda *_: answer) as url, pytest.raises(InputError) as caught:
        once(url)
    assert str(caught.value).startswith(url + "/metrics ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", ["http://", "http://:80", "http://h:99999/", "http://[::1/metrics", "ftp://h/metrics"])
def test_what_is_no_address_is_one_sentence(bad: str) -> None:
    with pytest.raises(InputError, match="is not an address of metrics; give one like http://localhost:8000/metrics"):
        once(bad)


def test_nobody_there_and_no_such_name() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(InputError, match=r"cannot be read \(Connection refused\); check that the server runs"):
        once(f"http://127.0.0.1:{port}/metrics")
    with pytest.raises(InputError, match=r"cannot be read \(its name does not resolve\)"):
        once("http://nowhere.invalid/metrics")


def test_a_server_that_hangs_and_one_that_drips_end_in_time() -> None:
    release = threading.Event()

    def hang(path: str, headers: Any) -> Answer:
        release.wait(20)
        return text(PAGE)

    with web(hang) as url:
        with pytest.raises(InputError, match=r"cannot be read \(no answer within 0.3 s\)"):
            once(url, timeout_s=0.3)
        release.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n")
                while not ended.is_set():
                    try:
                        connection.sendall(b"a 1\n")
                    except OSError:
                        return
                    time.sleep(0.02)

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(InputError, match=r"no answer within 0\.5 s"):
            once(f"http://127.0.0.1:{listener.getsockname()[1]}/metrics", timeout_s=0.5)
        ended.set()
        thread.join(5)


@pytest.mark.parametrize("packed", [False, True])
def test_a_flood_ends_at_the_limit(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BYTES", 1000)
    body = b"a 1\n" * 100_000
    headers = {"Content-Encoding": "gzip"} if packed else {}
    answer = (200, headers, gzip.compress(body) if packed else body)
    with web(lambda *_: answer) as url, pytest.raises(TooLarge, match="answers with more than 1,000 bytes"):
        once(url)


def test_one_address_that_fails_does_not_stop_the_other() -> None:
    with web(lambda *_: text("", 503)) as dead, serving(vllm) as alive:
        seen = Advisor().diagnose_endpoint(dead, 0.05, [alive])

    states = {s.origin: (s.state, s.note) for s in seen.profile.sources}
    assert states[alive][0] == "ok"
    assert states[dead + "/metrics"][0] == "unreadable"
    assert "HTTP 503" in states[dead + "/metrics"][1]
    assert seen.profile.facts["gen_ai.server.requests.running"].value == 40


def test_scrapes_that_fail_in_between_are_noted() -> None:
    answers = iter([text(PAGE), text("", 500), text(PAGE)])
    with web(lambda *_: next(answers, text(PAGE))) as url:
        (got,) = scrape([url], 1.2)

    assert len(got.pages) == 2
    assert got.note.startswith("1 of 3 scrapes failed: ")


# --- the command ----------------------------------------------------------------------


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "advisor", "diagnose", *args]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "ADVISOR_DATA": str(home), "LANG": "C.UTF-8", "LC_ALL": ""}


def run(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args), capture_output=True, text=True, env=environment(home), timeout=120, check=False
    )


def test_the_command_takes_an_address(tmp_path: Path) -> None:
    with serving(lambda n: vllm(n, cache=0.97, preempted=50, waiting=20)) as url:
        done = run(tmp_path, url, "--seconds", "1", "--fail-on", "serious")

    assert done.returncode == 1, done.stderr
    assert "KV cache" in done.stdout
    assert f"advisor diagnose {url} --seconds 1" in " ".join(done.stdout.split())


def test_the_command_takes_saved_pages(tmp_path: Path) -> None:
    for n, changed in ((1, 1_700_000_000), (2, 1_700_000_020)):
        path = tmp_path / f"{n}.prom"
        path.write_text(
            f"vllm:num_requests_running 4\nvllm:num_requests_waiting 0\nvllm:generation_tokens_total {n * 400}\n"
        )
        os.utime(path, (changed, changed))
    done = run(tmp_path / "home", str(tmp_path / "1.prom"), str(tmp_path / "2.prom"), "--json")
    document = json.loads(done.stdout)

    assert document["profile"]["facts"]["gen_ai.server.generation_tokens.rate"]["value"] == 20
    assert document["profile"]["duration_s"] == 20
    assert document["profile"]["started"].startswith("2023-11-14T22:13:20")


def test_a_saved_page_cannot_be_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "full.prom"
    path.write_text("vllm:num_requests_running 5\nvllm:num_requests_waiting 300\n")
    shown = " ".join(run(tmp_path / "home", str(path)).stdout.split())

    assert "Verify: " in shown
    assert "advisor run -- full.prom" not in shown
    assert "advisor diagnose full.prom" not in shown


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/metrics", "http://nowhere.invalid", "https://"])
def test_an_address_that_cannot_be_used_is_exit_status_2(tmp_path: Path, address: str) -> None:
    done = run(tmp_path, address, "--seconds", "1")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("advisor: ")


def test_watching_tells_again_and_again_until_interrupted(tmp_path: Path) -> None:
    with serving(vllm) as url:
        watcher = subprocess.Popen(
            command(url, "--seconds", "0.2", "--watch", "--json"),
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert watcher.stdout is not None
        seen = [json.loads(watcher.stdout.readline()) for _ in range(3)]
        watcher.send_signal(signal.SIGINT)
        _, errors = watcher.communicate(timeout=60)

    assert watcher.returncode == 0, errors
    assert errors == ""
    assert len({document["profile"]["id"] for document in seen}) == 3
    assert all(document["profile"]["facts"]["run.framework"]["value"] == "vllm" for document in seen)


# --- a real exporter ------------------------------------------------------------------


def test_a_real_node_exporter() -> None:
    assert NODE_EXPORTER is not None, "install the Debian package prometheus-node-exporter"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    exporter = subprocess.Popen([NODE_EXPORTER, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                socket.create_connection(tuple_of(address), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        seen = Advisor().diagnose_endpoint(f"http://{address}", 1.5)
    finally:
        exporter.terminate()
        exporter.wait(10)
    facts = {name: fact.value for name, fact in seen.profile.facts.items()}

    assert facts["system.cpu.logical.count"] == os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert facts["system.memory.limit"] == memory
    assert 0 < float(facts["system.memory.available"]) < memory
    assert 0 <= float(facts["system.cpu.utilization"]) <= 1
    assert seen.errors == ()


def tuple_of(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
