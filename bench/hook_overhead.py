"""What the training hook costs: the same tight training loop with and without it, block by block in turn.

Two processes, one hooked, run blocks of steps in turn, never both at once. CPU time is compared, since wall time on
a shared machine measures the neighbours, and of each side the fastest quarter of the blocks, since the neighbours
also cost cache. Prints microseconds per step and the ratio.

    python bench/hook_overhead.py [--blocks N]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from advisor.collect.training import hook_environment

STEPS = 500
LOOP = f"""
import itertools, sys, time, torch
from torch.utils.data import DataLoader, TensorDataset
torch.set_num_threads(1)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
loader = DataLoader(TensorDataset(torch.ones(10 * {STEPS}, 8)), batch_size=1)
def batches():
    while True:
        yield from loader
source = batches()
for _ in sys.stdin:
    began = time.process_time()
    for (x,) in itertools.islice(source, {STEPS}):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
    print(time.process_time() - began, flush=True)
"""


def start(environ: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LOOP], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def block(process: subprocess.Popen[str]) -> float:
    """CPU seconds of one block of steps."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def per_step(blocks: Sequence[float]) -> float:
    """Microseconds per step in the fastest quarter of the blocks."""
    fastest = sorted(blocks)[: max(1, len(blocks) // 4)]
    return statistics.mean(fastest) / STEPS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the training hook costs per step.")
    parser.add_argument("--blocks", type=int, default=30)
    blocks = parser.parse_args().blocks
    with tempfile.TemporaryDirectory() as folder:
        plain = start(dict(os.environ))
        hooked = start(hook_environment(Path(folder), os.environ))
        for process in (plain, hooked):
            block(process)
        pairs = [(block(plain), block(hooked)) for _ in range(blocks)]
        for process in (plain, hooked):
            process.communicate()
        files = len(list(Path(folder).glob("process-*.json")))
    without, with_hook = (per_step(side) for side in zip(*pairs, strict=True))
    print(f"hook output files: {files}")
    print(f"per step: {without:.1f} us without, {with_hook:.1f} us with, {with_hook - without:.1f} us added")
    print(f"ratio: {with_hook / without:.3f}")


if __name__ == "__main__":
    main()
