"""How long an answer takes: rules against one profile, and a cold `advisor ask`.

Prints medians; the promise is < 1 ms for every rule with its full trace on one profile,
and < 0.7 s from the start of the process to the printed answer.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from advisor.engine.match import Engine
from advisor.kb import default_folder, load
from advisor.kb.build import Loader
from advisor.models import Value

ROUNDS = 9
PER_ROUND = 200
COLD = 9


def profile_values(knowledge_facts: dict[str, object]) -> dict[str, Value]:
    """A full profile: every fact that a matched case of any rule states."""
    values: dict[str, Value] = {}
    loader = Loader(default_folder())
    loader.knowledge()
    for cases in loader.cases().values():
        for case in cases:
            if case.expect == "matched":
                values.update({k: v for k, v in case.facts.items() if k in knowledge_facts and k not in values})
    return values


def match_ms() -> tuple[float, int, int]:
    """Median milliseconds for all rules with trace, their number, and the number of facts."""
    knowledge = load()
    engine = Engine(knowledge)
    values = profile_values(dict(knowledge.facts))
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(PER_ROUND):
            engine.match(values)
        rounds.append((time.perf_counter() - start) / PER_ROUND * 1e3)
    return statistics.median(rounds), len(knowledge.rules), len(values)


def cold_seconds(question: str, *options: str) -> float:
    """Median seconds of a fresh `advisor ask` process."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "ADVISOR_DATA": folder}
        command = [sys.executable, "-m", "advisor", "ask", question, *options]
        times = []
        for _ in range(COLD):
            start = time.perf_counter()
            subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    took, rules, facts = match_ms()
    print(f"match: {rules} rules with full trace on a profile of {facts} facts: median {took:.3f} ms (promise: < 1 ms)")
    plain = cold_seconds("why is my training slow?")
    chinese = cold_seconds("显存不足怎么办？")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile.json"
        path.write_text(json.dumps({"facts": {"run.phase": "training", "config.dataloader.num_workers": 0}}))
        attached = cold_seconds("why is my training slow?", "--profile", str(path))
    print(
        f"cold ask: English {plain:.2f} s, Chinese {chinese:.2f} s, with a profile {attached:.2f} s (promise: < 0.7 s)"
    )


if __name__ == "__main__":
    main()
