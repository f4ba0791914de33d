"""Runs a scenario under TraceML: with the lines that it asks its users to add, and its final summary read.

What it is credited with is written in `peers_map.py`.
"""

from __future__ import annotations

import ast
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.accuracy.outcome import ALARMING, Told
from bench.accuracy.peers_map import TRACEML
from bench.accuracy.runs import ROOT, Failed, Run, last_line, limited, watched
from bench.accuracy.scenarios import Scenario
from bench.peers import TRACEML as REQUIREMENT
from bench.peers import Missing, python

NAME = "TraceML 0.5.0"
SEVERITIES = {"info": "minor", "warn": "serious", "crit": "critical"}
# what they say is shown, but by TraceML's own policy (reporting/primary_diagnosis.py) never as what made the run slow
ASIDE = ("step_memory", "process", "system")
# states that say that nothing was found
NEUTRAL = (
    "BALANCED", "INCOMPLETE_DATA", "INSUFFICIENT_STEP_TIME_DATA", "NORMAL", "NO_CLEAR_PERFORMANCE_BOTTLENECK",
    "NO_DATA", "NO_GPU", "WARMUP",
)  # fmt: skip
RUNNER = "traceml_ai/runtime/executor.py"


def judge(scenario: Scenario, healthy: bool) -> tuple[tuple[Told, ...], Run]:
    """What it found in a scenario, first one first (raises Failed)."""
    try:
        program = python(REQUIREMENT).with_name("traceml")
    except Missing as missing:
        raise Failed(str(missing)) from None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / Path(scenario.script(healthy)).name
        script.write_text(edited((ROOT / scenario.script(healthy)).read_text(encoding="utf-8")), encoding="utf-8")
        line = [str(program), "run", str(script), "--run-name", "run", "--logs-dir", f"{folder}/logs"]
        run = watched(limited(scenario, healthy, [*line, *_options(scenario, healthy)]), {}, RUNNER)
        summary = folder / "logs" / "run" / "final_summary.json"
        if not summary.exists():
            raise Failed(f"no summary was written; it said: {last_line(run.said)}")
        return tuple(told(json.loads(summary.read_text(encoding="utf-8")))), run


def edited(source: str) -> str:
    """A training script with the lines that TraceML's quick start asks for.

    The context manager is put around all that the loop does with a batch, and not only around the forward pass, the
    backward pass and the optimizer: so it sees checkpoints, evaluations and metrics as well.
    """
    lines = source.splitlines()
    loop = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.For) and _steps(node))
    first, last = loop.body[0].lineno - 1, loop.body[-1].end_lineno
    indent = re.match(" *", lines[first])[0]  # type: ignore[index]
    body = [f"    {line}" if line.strip() else line for line in lines[first:last]]
    lines[first:last] = [f"{indent}with traceml.trace_step(model):", *body]
    at = lines.index("import torch")
    lines[at + 1 : at + 1] = ["import traceml_ai as traceml", 'traceml.init(mode="auto")']
    return "\n".join(lines) + "\n"


def _steps(loop: ast.For) -> bool:
    """Whether a loop calls `optimizer.step()` itself."""
    return any(ast.unparse(statement) == "optimizer.step()" for statement in loop.body)


def _options(scenario: Scenario, healthy: bool) -> Iterator[str]:
    """How many processes to start, and what the script is given."""
    words = scenario.words(healthy)
    if "--nproc-per-node" in words:
        yield from ("--nproc-per-node", words[words.index("--nproc-per-node") + 1])
    if scenario.ranks > 1:  # one launcher for each, as on so many machines; `limits.py` knows the address
        yield from ("--nnodes", str(scenario.ranks), "--node-rank", "{rank}", "--nproc-per-node", "1")
        yield from ("--master-addr", "10.213.97.1", "--master-port", "29513", "--aggregator-bind-host", "0.0.0.0")
    yield from ("--args", *words[words.index(scenario.script(healthy)) + 1 :])


def told(summary: Mapping[str, Any]) -> Iterator[Told]:
    """What a final summary finds: its primary diagnosis first, then what its sections say beside it."""
    issues = [(issue, False) for issue in (summary["primary_diagnosis"], *_issues(summary, "step_time"))]
    issues += [(issue, True) for section in ASIDE for issue in _issues(summary, section)]
    seen = set(NEUTRAL)
    for issue, aside in issues:
        kind, severity = issue["kind"], SEVERITIES[issue["severity"]]
        if kind not in seen:
            seen.add(kind)
            yield kind, "moderate" if aside and severity in ALARMING else severity, TRACEML.get(kind, ())


def _issues(summary: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    """The findings of one section; one that had nothing to look at is left out of the summary."""
    return list(summary.get(section, {}).get("issues", ()))
