"""What live collection costs: CPU milliseconds per reading of each collector, beside psutil.process_iter.

Run it as ``python bench/collect_cost.py``. It starts 50 sleeping children with a few threads
each, so the process tree is a large one. A costly source is read less often than once a second;
the sums count what it costs per second. Read the ratios: absolute times are this machine's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from advisor.collect.sampler import default_collectors

CHILDREN, THREADS = 50, 4
CHILD = f"""
import threading, time
for _ in range({THREADS - 1}):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
time.sleep(600)
"""
ATTRIBUTES = ["pid", "ppid", "cpu_times", "memory_info", "num_threads", "io_counters"]


def cost(act: Callable[[], object], rounds: int, pause: float) -> float:
    """CPU milliseconds of one call, after a first one that may set things up."""
    act()
    spent = 0.0
    for _ in range(rounds):
        time.sleep(pause)
        began = time.thread_time()
        act()
        spent += time.thread_time() - began
    return spent * 1000 / rounds


def both(act: Callable[[], object]) -> tuple[float, float]:
    """Back to back (warm caches), and once a second as in use (cold ones, and threads are due now and then)."""
    return cost(act, 40, 0.0), cost(act, 8, 1.0)


def main() -> None:
    children = [subprocess.Popen([sys.executable, "-S", "-c", CHILD]) for _ in range(CHILDREN)]
    time.sleep(3)
    sums = {"all that is system-wide": [0.0, 0.0], "all that looks at the job": [0.0, 0.0]}
    try:
        print(f"{len(psutil.pids())} processes, {CHILDREN} of them in the tree with {THREADS} threads each")
        print(f"CPU ms per reading{'back to back':>39}{'once a second':>15}")
        for collector in default_collectors(os.getpid()):
            name = f"{collector.kind}, {collector.origin}"
            try:
                warm, cold = both(collector.read)
            except OSError as error:
                print(f"{name:<45}{'-':>12}{'-':>15}  {error}")
                continue
            if getattr(collector, "once", False):
                print(f"{name:<45}{warm:12.3f}{cold:15.3f}  read once per run")
                continue
            pause = max(1.0, getattr(collector, "pause_s", 1.0))
            total = sums["all that looks at the job" if collector.kind == "process" else "all that is system-wide"]
            total[0], total[1] = total[0] + warm / pause, total[1] + cold / pause
            print(f"{name:<45}{warm:12.3f}{cold:15.3f}{f'  read every {pause:.0f} s' if pause > 1 else ''}")
        for name, (warm, cold) in sums.items():
            print(f"{name + ', per second':<45}{warm:12.3f}{cold:15.3f}")
        warm, cold = both(lambda: list(psutil.process_iter(ATTRIBUTES)))
        print(f"{'for comparison: psutil.process_iter':<45}{warm:12.3f}{cold:15.3f}")
        print(f"resident memory {psutil.Process().memory_info().rss / 1e6:.0f} MB")
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()


if __name__ == "__main__":
    main()
