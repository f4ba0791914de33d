"""Runs a real Prometheus server over real exporters for tests."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path


def binary(name: str) -> str:
    """The program of a Debian package of the same name."""
    found = shutil.which(name)
    assert found, f"{name} is not installed; install it: apt-get install {name}"
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def process(*command: str) -> Iterator[None]:
    """A program that runs as long as the context is open."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.terminate()
        running.wait(20)


@contextmanager
def node_exporter() -> Iterator[str]:
    """The address of a real node_exporter, as Prometheus calls it: host and port."""
    address = f"127.0.0.1:{free_port()}"
    with process(binary("prometheus-node-exporter"), f"--web.listen-address={address}"):
        yield address


@contextmanager
def prometheus(folder: Path, jobs: Mapping[str, list[str]], interval: str = "1s", path: str = "/") -> Iterator[str]:
    """The address of a real Prometheus that scrapes `jobs` (name -> addresses)."""
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": at}]} for job, at in jobs.items()],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": address,
        "web.route-prefix": path,
    }
    with ExitStack() as stack:
        stack.enter_context(process(binary("prometheus"), *(f"--{name}={value}" for name, value in options.items())))
        url = f"http://{address}{path.rstrip('/')}"
        wait_for(lambda: ask(url, "up"))
        yield url


def ask(url: str, query: str) -> list[dict[str, object]]:
    """The series that a query gives; none while nothing answers."""
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?query={query}", timeout=5) as response:
            found: list[dict[str, object]] = json.load(response)["data"]["result"]
            return found
    except (OSError, urllib.error.HTTPError):
        return []


def wait_for(holds: object, seconds: float = 30.0) -> None:
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come up"
        time.sleep(0.1)
