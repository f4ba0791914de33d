"""The server as a process: it says where it listens, moves on from a taken port, refuses floods, and stops cleanly."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from standin import StandIn

from advisor.errors import InputError
from advisor.serve import serve

PROGRAM = """
import sys
from standin import StandIn
from advisor.serve import serve
serve(StandIn(), "127.0.0.1", int(sys.argv[1]), lambda url: print(url, flush=True))
"""


@contextmanager
def taken_port() -> Iterator[int]:
    """A loopback port that something listens on, with room for more above it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[int, int, subprocess.Popen[str]]]:
    """(the port that was taken, the port it listens on, the process)."""
    with taken_port() as port:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, str(port)],
            cwd=Path(__file__).parent,
            env={"PYTHONPATH": ":".join([str(Path(__file__).parents[1]), str(Path(__file__).parent)])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        url = process.stdout.readline().strip()
        try:
            yield port, int(url.rpartition(":")[2].strip("/")), process
        finally:
            process.kill()
            process.communicate()


def test_a_taken_port_moves_on_to_the_next(running: tuple[int, int, subprocess.Popen[str]]) -> None:
    taken, port, _ = running
    assert taken < port < taken + 20


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_100_mb_is_refused_without_reading_it(
    running: tuple[int, int, subprocess.Popen[str]], chunked: bool
) -> None:
    _, port, _ = running
    length = "transfer-encoding: chunked" if chunked else f"content-length: {100 * 2**20}"
    head = f"POST /api/v1/ask HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(head.encode())
        try:
            while chunked and sent < 100 * 2**20:
                client.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent += 65536
        except OSError:  # the server has answered and closed
            pass
        answer = b""
        try:
            while chunk := client.recv(65536):
                answer += chunk
        except ConnectionResetError:
            pass
    assert sent < 50 * 2**20
    if answer or not chunked:
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"application/problem+json" in answer


def test_it_still_answers_afterwards_and_stops_on_ctrl_c(running: tuple[int, int, subprocess.Popen[str]]) -> None:
    _, port, process = running
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/api/v1/ask", json.dumps({"question": "why"}), {"content-type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=15)
    assert (process.returncode, output, errors) == (0, "", "")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.7"])
def test_a_host_that_is_not_here(host: str) -> None:
    with pytest.raises(InputError, match=r"use 127\.0\.0\.1"):
        serve(StandIn(), host, 8321, lambda _: None)  # type: ignore[arg-type]


def test_a_port_that_is_none() -> None:
    with pytest.raises(InputError, match="65536 is not a port"):
        serve(StandIn(), "127.0.0.1", 65536, lambda _: None)  # type: ignore[arg-type]
