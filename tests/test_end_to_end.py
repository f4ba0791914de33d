"""The main job, for real: a PyTorch run is watched, the question is asked in a browser, the cause comes back proven.

Nothing is played here: real torch, the real command line, a real server, a real browser.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
QUESTION = "why is my training slow?"
TITLE = "Data loading runs in the training process"
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {**os.environ, "ADVISOR_DATA": str(tmp_path_factory.mktemp("data")), "LANG": "C.UTF-8", "LC_ALL": ""}


@pytest.fixture(scope="module")
def url(environment: dict[str, str]) -> Iterator[str]:
    command = [sys.executable, "-m", "advisor", "serve", "--port", "8421"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found
        yield found[0]
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the diagnoses of the two runs are saved, so that they are watched once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


def watch(environment: dict[str, str], example: str, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "advisor", "run", "--out", str(out), "--", sys.executable, f"examples/{example}"]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def profiles(url: str) -> list[dict[str, object]]:
    with urllib.request.urlopen(f"{url}api/v1/profiles", timeout=10) as response:
        return list(json.load(response))


def ask(page: Page, url: str, question: str) -> None:
    page.goto(url)
    page.get_by_role("textbox").fill(question)
    page.keyboard.press("Enter")


def line_of(example: str, code: str) -> int:
    lines = (ROOT / "examples" / example).read_text(encoding="utf-8").splitlines()
    return next(i for i, line in enumerate(lines, 1) if code in line)


def test_a_starved_run_is_explained_while_it_runs_and_after(
    environment: dict[str, str], url: str, page: Page, runs: Path
) -> None:
    saved = runs / "starved.json"
    run = watch(environment, "starved_loader.py", saved)
    deadline = time.monotonic() + 120
    while not any(p["verdict"] == "bottleneck" for p in profiles(url)) and time.monotonic() < deadline:
        time.sleep(0.5)
    during = run.poll()
    ask(page, url, QUESTION)
    expect(page.get_by_role("heading", name=TITLE)).to_be_visible()
    _, said = run.communicate(timeout=180)

    assert during is None, "the question was asked while the run was going"
    assert run.returncode == 0
    assert TITLE in said

    document = json.loads(saved.read_text(encoding="utf-8"))
    top = document["findings"][0]
    share = top["gain"]["share"]
    facts = document["profile"]["facts"]
    workers = facts["derived.dataloader.workers.recommended"]["value"]
    made = f"examples/starved_loader.py:{line_of('starved_loader.py', 'DataLoader(')}"
    assert (top["rule"], top["topic"]) == ("dataloader-no-workers", "dataloader_bottleneck")
    assert share > 0.5
    assert top["gain"]["speedup_at_most"] == pytest.approx(1 / (1 - share), abs=0.01)
    assert next(e["where"] for e in top["evidence"] if e["fact"] == "config.dataloader.num_workers") == made
    assert top["remedies"][0]["to"] == f"{workers:.0f}"
    assert 1 <= workers <= max(1, facts["process.cpu.usable.count"]["value"] - 1)

    ask(page, url, QUESTION)
    answer = page.get_by_role("log")
    expect(page.get_by_role("heading", name=TITLE)).to_be_visible()
    expect(answer).to_contain_text(f"{share * 100:.0f} % of every step")
    expect(answer).to_contain_text(made)
    expect(answer).to_contain_text(f"num_workers={workers:.0f}")
    expect(answer).to_contain_text(f"at most {top['gain']['speedup_at_most']:g}x faster")

    report = subprocess.run(
        [sys.executable, "-m", "advisor", "report", str(saved), "--format", "md,html,json"],
        env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    markdown, html, _ = (Path(line).read_text(encoding="utf-8") for line in report.stdout.splitlines())
    assert len(markdown) < 60_000
    assert f"num_workers={workers:.0f}" in markdown
    assert made in markdown
    assert "<svg" in html
    assert not re.search(r"""(src|href)=["']?(https?:)?//[^"']*\.(js|css)""", html)
    page.goto((runs / "starved.report.html").as_uri())
    expect(page.get_by_role("heading", name=TITLE)).to_be_visible()


def test_its_healthy_twin_is_healthy(environment: dict[str, str], url: str, page: Page, runs: Path) -> None:
    saved = runs / "healthy.json"
    run = watch(environment, "healthy_loader.py", saved)
    run.communicate(timeout=240)
    document = json.loads(saved.read_text(encoding="utf-8"))

    assert run.returncode == 0
    assert document["verdict"] == "healthy", [f["rule"] for f in document["findings"]]
    assert document["profile"]["facts"]["ml.step.data_wait.exposed.fraction"]["value"] < 0.05

    ask(page, url, "为什么我的训练这么慢？")
    expect(page.get_by_role("heading", name="未发现瓶颈")).to_be_visible()


def test_comparing_the_two_says_that_the_fix_worked(environment: dict[str, str], runs: Path) -> None:
    saved = [runs / f"{name}.json" for name in ("starved", "healthy")]
    for out in (out for out in saved if not out.is_file()):  # this test alone
        run = watch(environment, f"{out.stem}_loader.py", out)
        run.communicate(timeout=240)
        assert run.returncode == 0
    command = [sys.executable, "-m", "advisor", "compare", *map(str, saved), "--json", "--fail-on-regression", "5%"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(done.stdout)
    cause = next(f for f in told["findings"] if f["rule"] == "dataloader-no-workers")
    step = next(m for m in told["metrics"] if m["fact"] == "ml.step.time")

    assert (told["verdict"], told["basis"], told["same_work"]) == ("better", "ml.step.time", True)
    assert (cause["fate"], cause["unverified"]) == ("gone", False)
    verified = {v["condition"]: v["holds"] for v in cause["verify"]}
    assert verified["ml.step.data_wait.exposed.fraction < 0.02"] is True
    assert min(step["band"]["samples"]) >= 30
    assert step["band"]["low"] <= step["change"] <= step["band"]["high"] < 0
    assert told["gain"]["rules"] == ["dataloader-no-workers"]
    assert told["gain"]["judgement"] != "none"
