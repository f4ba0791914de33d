"""What watching a training costs it: bare, under `advisor run`, and with TraceML, side by side.

One training process per variant, all alive for the whole benchmark. In turn each trains for a short block, while all
processes of the others, their watchers included, are stopped (SIGSTOP): nothing runs at another one's expense, and
what the neighbours on the machine do hits all alike. Start-up is no part of it. A watcher that was stopped catches
up when it goes on, which is more than it does in a run without pauses: its own CPU time is therefore measured
apart, in one long block.

    python bench/run_overhead.py [--rounds N] [--seconds S]

"bare again" is the same as bare in another process: differences of its size mean nothing on this machine.

Columns: steps per second in the median block and in the fastest quarter of the blocks; throughput as a share of
bare, the median over pairs of neighbouring blocks with its 90 % bootstrap interval, and the fastest quarter against
bare's; CPU time per step that the training's own processes take more (fastest quarter); CPU time of the watcher's
processes per second.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Listener
from pathlib import Path

import psutil
from peers import ROOT, TRACEML, Missing, python

LOOP = ROOT / "bench" / "training_loop.py"
CASES = ((1, 0), (5, 0), (20, 0), (5, 2))  # milliseconds per step, loader workers
BLOCK_S, LEAD_S = 0.3, 0.05  # of each block the lead is not counted
START_S = 90.0
BOOTSTRAPS = 2000


def with_traceml(script: str) -> str:
    """The training script with the lines that TraceML asks its users to add."""
    script = script.replace(
        "import torch\n", 'import torch\nimport traceml_ai as traceml\ntraceml.init(mode="auto")\n', 1
    )
    begin, end = script.index("        optimizer.zero_grad()"), script.index("        steps += 1")
    body = re.sub("(?m)^(?=.)", "    ", script[begin:end])
    return f"{script[:begin]}        with traceml.trace_step(model):\n{body}{script[end:]}"


@dataclass
class Variant:
    """One way of running the training, and what each block of it measured."""

    name: str
    process: subprocess.Popen[bytes]
    steps: Connection
    pid: int  # of the training
    rates: list[float] = field(default_factory=list)  # steps per second
    cpu: list[float] = field(default_factory=list)  # CPU seconds per step in the training's own processes
    watching: float = 0.0  # CPU seconds per second of the other processes, in a long block

    def tree(self) -> list[psutil.Process]:
        """All processes of this variant."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def training(self) -> list[psutil.Process]:
        """The training and its loader workers."""
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def stop(self) -> None:
        """Take all processes off the CPU."""
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def go_on(self) -> None:
        """Let them run again."""
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def open(self, depth: int, workers: int) -> None:
        """Make a new loader, and forget what was measured."""
        self.rates, self.cpu = [], []
        self.go_on()
        self.steps.send(("open", depth, workers))
        self.train(LEAD_S)
        self.stop()

    def train(self, seconds: float) -> int:
        """How many steps are done in about that time."""
        self.steps.send(("block", seconds))
        return int(self.steps.recv())

    def block(self, seconds: float) -> None:
        """Train while nothing else here runs."""
        self.go_on()
        self.train(LEAD_S)
        training, began = self.training(), time.perf_counter()
        before = cpu_seconds(training)
        steps = self.train(seconds)
        self.rates.append(steps / (time.perf_counter() - began))
        self.cpu.append((cpu_seconds(training) - before) / steps)
        self.stop()

    def watch(self, seconds: float) -> None:
        """Measure in one long block what the watcher takes."""
        self.go_on()
        self.train(LEAD_S)
        own = {process.pid for process in self.training()}
        others = [process for process in self.tree() if process.pid not in own]
        before, began = cpu_seconds(others), time.perf_counter()
        self.train(seconds)
        self.watching = (cpu_seconds(others) - before) / (time.perf_counter() - began)
        self.stop()


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """CPU seconds that these processes have used, to the nanosecond (/proc counts ticks of 10 ms)."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(OSError):  # it has ended
            total += time.clock_gettime((~process.pid << 3) | 2)  # what clock_getcpuclockid(3) gives
    return total


@contextlib.contextmanager
def variants(folder: Path) -> Iterator[list[Variant | tuple[str, str]]]:
    """The training in every variant, stopped; of a peer that cannot run, its name and the reason."""
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", "")))),
        "ADVISOR_DATA": str(folder / "data"),
    }
    running: list[Variant | tuple[str, str]] = []
    try:
        for name in ("bare", "bare again", "advisor run", "TraceML 0.5.0"):
            address = str(folder / f"{len(running)}.socket")
            try:
                running.append(start(name, command(name, address, folder), address, environ, folder))
            except Missing as missing:
                running.append((name, str(missing)))
        yield running
    finally:
        for variant in running:
            if isinstance(variant, Variant):
                end(variant)


def command(name: str, address: str, folder: Path) -> list[str]:
    """What starts the training in this variant (raises `Missing`)."""
    plain = [sys.executable, str(LOOP), address]
    if name.startswith("bare"):
        return plain
    if name == "advisor run":
        return [sys.executable, "-m", "advisor", "run", "--", *plain]
    traceml = python(TRACEML).with_name("traceml")
    edited = folder / "training_with_traceml.py"
    edited.write_text(with_traceml(LOOP.read_text()))
    return [str(traceml), "run", str(edited), "--logs-dir", str(folder / "logs"), "--args", address]


def start(name: str, argv: Sequence[str], address: str, environ: dict[str, str], folder: Path) -> Variant:
    """Start one variant and wait until its training asks for orders (raises `Missing`)."""
    said = folder / f"{name}.log"
    with Listener(address) as listener, said.open("wb") as log:
        listener._listener._socket.settimeout(START_S)  # type: ignore[attr-defined] # noqa: SLF001 - no public way
        process = subprocess.Popen(argv, env=environ, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            training = listener.accept()
        except TimeoutError:
            process.kill()
            last = (said.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
            raise Missing(f"no training began within {START_S:.0f} s; it said: {last}") from None
    variant = Variant(name, process, training, training.recv())
    variant.stop()
    return variant


def end(variant: Variant) -> None:
    """Let the training end by itself, and its watcher too; whatever is left after that is killed."""
    with contextlib.suppress(psutil.NoSuchProcess, OSError):
        variant.go_on()
        tree = variant.tree()
        variant.steps.send(("end",))
        try:
            variant.process.wait(60)
        except subprocess.TimeoutExpired:
            for process in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            variant.process.wait()


def measure(running: Sequence[Variant], depth: int, workers: int, rounds: int, seconds: float) -> None:
    """Fill every variant with `rounds` blocks, the order turned by one each round."""
    for variant in running:
        variant.open(depth, workers)
    for turn in range(rounds):
        first = turn % len(running)
        for variant in (*running[first:], *running[:first]):
            variant.block(seconds)


def model_depth(bare: Variant, milliseconds: float) -> int:
    """How deep a model makes a step of that length here."""
    size = 16
    for _ in range(3):
        bare.open(size, 0)
        for _ in range(4):
            bare.block(0.1)
        size = max(1, round(size * milliseconds / 1e3 * max(bare.rates)))
    return size


def fastest(numbers: Sequence[float], *, high: bool) -> float:
    """Mean of the best quarter: what the machine gives when nobody disturbs it."""
    return statistics.mean(sorted(numbers, reverse=high)[: max(1, len(numbers) // 4)])


def interval(numbers: Sequence[float]) -> tuple[float, float]:
    """Between what the median lies in 90 % of samples drawn from `numbers` again."""
    draw = random.Random(0)
    drawn = sorted(statistics.median(draw.choices(numbers, k=len(numbers))) for _ in range(BOOTSTRAPS))
    return drawn[BOOTSTRAPS // 20], drawn[-BOOTSTRAPS // 20]


def row(variant: Variant, bare: Variant) -> str:
    """One line of the table."""
    best = fastest(variant.rates, high=True)
    line = f"{variant.name:<15}{statistics.median(variant.rates):8.1f}{best:9.1f}"
    if variant is bare:
        return line
    pairs = [one / other for one, other in zip(variant.rates, bare.rates, strict=True)]
    low, high = interval(pairs)
    added = fastest(variant.cpu, high=False) - fastest(bare.cpu, high=False)
    return (
        f"{line}{statistics.median(pairs):9.1%} ({low:6.1%} to {high:6.1%})"
        f"{best / fastest(bare.rates, high=True):9.1%}{added * 1e6:12.0f} us"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what watching a training costs it.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=12.0, help="length of the block that measures the watchers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, variants(Path(folder)) as all_of_them:
        running = [v for v in all_of_them if isinstance(v, Variant)]
        bare = running[0]
        for milliseconds, workers in CASES:
            depth = model_depth(bare, milliseconds)
            measure(running, depth, workers, options.rounds, BLOCK_S)
            length = 1e3 / fastest(bare.rates, high=True)
            print(f"steps of {length:.1f} ms (depth {depth}), {workers} loader workers; load {os.getloadavg()[0]:.1f}")
            print(
                f"{'':<15}{'steps/s':>8}{'fastest':>9}{'of bare (90 % interval)':>29}{'fastest':>9}{'CPU per step':>15}"
            )
            for variant in all_of_them:
                print(row(variant, bare) if isinstance(variant, Variant) else f"{variant[0]:<15}-  {variant[1]}")
            sys.stdout.flush()
        for variant in running[2:]:
            variant.watch(options.seconds)
            print(f"{variant.name}: its own processes take {variant.watching * 1e3:.1f} ms of CPU per second")


if __name__ == "__main__":
    main()
