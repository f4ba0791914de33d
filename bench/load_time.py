"""How long the knowledge base takes to load: from its YAML files, and from the pack that a wheel ships.

The promise is < 100 ms from YAML and < 15 ms from the pack. Prints the median and the best of many
rounds, in wall time and in CPU time: on a shared machine the two differ.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from advisor.kb import default_folder, pack
from advisor.kb.load import build

ROUNDS = 21


def timed(load: Callable[[], object]) -> str:
    """`median ... ms (best ..., CPU ...)` of loading."""
    walls, cpus = [], []
    load()  # imports and the file cache are paid for once
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        kept = load()
        walls.append((time.perf_counter() - wall) * 1e3)
        cpus.append((time.process_time() - cpu) * 1e3)
        del kept
    return f"median {statistics.median(walls):.1f} ms (best {min(walls):.1f}, CPU {statistics.median(cpus):.1f})"


def main() -> None:
    folder = default_folder()
    knowledge = build(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*.yaml"))
    print(f"load {len(knowledge.rules)} rules from {size / 1e6:.1f} MB of YAML: {timed(lambda: build(folder))}")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "knowledge.pack"
        pack.write(path, knowledge)
        print(f"load the same from a pack of {path.stat().st_size / 1e6:.1f} MB: {timed(lambda: pack.read(path))}")


if __name__ == "__main__":
    main()
