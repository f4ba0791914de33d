"""What the training hook costs: the same training loop with and without it, block by block in turn.

First a loop that does next to nothing else, then steps of about 5 ms, in which the hook's code is cold.

Two processes, one hooked, run blocks of steps in turn, never both at once. CPU time is compared, since wall time on
a shared machine measures the neighbours, and of each side the fastest quarter of the blocks, since the neighbours
also cost cache. Prints microseconds per step and the share. Two processes of the same program differ by some per cent
on such a machine, which is more than the hook costs in steps of 5 ms: there the first line, a bound, tells more.

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

CASES = ((0, 500), (80, 100))  # layers of the model, steps per block
LOOP = """
import itertools, sys, time, torch
from torch.utils.data import DataLoader, TensorDataset
torch.set_num_threads(1)
layers, steps = LAYERS, STEPS
model = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(layers)), torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
loader = DataLoader(TensorDataset(torch.ones(10 * steps, 8)), batch_size=1)
def batches():
    while True:
        yield from loader
source = batches()
for _ in sys.stdin:
    began = time.process_time()
    for (x,) in itertools.islice(source, steps):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
    print(time.process_time() - began, flush=True)
"""


def start(environ: dict[str, str], layers: int, steps: int) -> subprocess.Popen[str]:
    program = LOOP.replace("LAYERS", str(layers)).replace("STEPS", str(steps))
    return subprocess.Popen(
        [sys.executable, "-c", program], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def block(process: subprocess.Popen[str]) -> float:
    """CPU seconds of one block of steps."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def per_step(blocks: Sequence[float], steps: int) -> float:
    """Microseconds per step in the fastest quarter of the blocks."""
    fastest = sorted(blocks)[: max(1, len(blocks) // 4)]
    return statistics.mean(fastest) / steps * 1e6


def measure(layers: int, steps: int, blocks: int) -> None:
    """One line of the result."""
    with tempfile.TemporaryDirectory() as folder:
        plain = start(dict(os.environ), layers, steps)
        hooked = start(hook_environment(Path(folder), os.environ), layers, steps)
        for process in (plain, hooked):
            block(process)
        pairs = [(block(plain), block(hooked)) for _ in range(blocks)]
        for process in (plain, hooked):
            process.communicate()
        if not list(Path(folder).glob("process-*.json")):
            raise SystemExit("the hook wrote nothing: it was not in the training")
    without, with_hook = (per_step(side, steps) for side in zip(*pairs, strict=True))
    print(
        f"per step: {without:.1f} us without, {with_hook:.1f} us with, {with_hook - without:.1f} us added "
        f"({with_hook / without - 1:.1%})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the training hook costs per step.")
    parser.add_argument("--blocks", type=int, default=30)
    blocks = parser.parse_args().blocks
    for layers, steps in CASES:
        measure(layers, steps, blocks)


if __name__ == "__main__":
    main()
