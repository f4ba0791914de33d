"""Runs a scenario under alloc: `alloc run` on the unchanged script, then `alloc diagnose` on script and artifact.

Its callbacks are for Trainer and Lightning; for a plain training loop it asks for no edits. What it is credited with
is written in `peers_map.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

from bench.accuracy.outcome import Told
from bench.accuracy.peers_map import ALLOC
from bench.accuracy.runs import ROOT, Failed, Run, last_line, limited, watched
from bench.accuracy.scenarios import Scenario
from bench.peers import ALLOC as REQUIREMENT
from bench.peers import Missing, python

NAME = "alloc 0.0.16"
SEVERITIES = {"info": "minor", "warning": "serious", "critical": "critical"}


def judge(scenario: Scenario, healthy: bool) -> tuple[tuple[Told, ...], Run]:
    """What it found in a scenario, first one first (raises Failed)."""
    try:
        program = str(python(REQUIREMENT).with_name("alloc"))
    except Missing as missing:
        raise Failed(str(missing)) from None
    with tempfile.TemporaryDirectory() as folder:
        artifact = f"{folder}/artifact-{{rank}}.json.gz" if scenario.ranks > 1 else f"{folder}/artifact.json.gz"
        line = [program, "run", "--full", "--no-config", "--no-upload", "--out", artifact, "--", sys.executable]
        line = limited(scenario, healthy, [*line, *scenario.words(healthy)])
        run = watched(line, {"HOME": folder}, scenario.script(healthy))
        began = time.monotonic()
        said = _diagnose(program, scenario.script(healthy), artifact.replace("{rank}", "0"))
        spent = time.monotonic() - began
        found = tuple((f["rule_id"], SEVERITIES[f["severity"]], ALLOC.get(f["rule_id"], ())) for f in said["findings"])
        return found, replace(run, after_s=run.after_s + spent, total_s=run.total_s + spent)


def _diagnose(program: str, script: str, artifact: str) -> dict[str, list[dict[str, str]]]:
    """What `alloc diagnose` makes of a script and the artifact of its run (raises Failed)."""
    line = [program, "diagnose", script, "--artifact", artifact, "--json", "--no-config"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        raise Failed(f"alloc diagnose: {last_line(done.stderr or done.stdout)}") from None
