"""What live collection costs: CPU milliseconds per sample of each collector, beside psutil.process_iter.

Run it as ``python bench/collect_cost.py``. It starts 50 sleeping children with a few threads
each, so the process tree is a busy one. Read the ratios: absolute times are this machine's.
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
    system = [0.0, 0.0]
    try:
        print(f"{len(psutil.pids())} processes, {CHILDREN} of them in the tree with {THREADS} threads each")
        print(f"CPU ms per sample{'back to back':>40}{'once a second':>15}")
        for collector in default_collectors(os.getpid()):
            name = f"{collector.kind}, {collector.origin}"
            try:
                warm, cold = both(collector.read)
            except OSError as error:
                print(f"{name:<45}{'-':>12}{'-':>15}  {error}")
                continue
            once = getattr(collector, "once", False)
            if not once and collector.kind != "process":
                system = [system[0] + warm, system[1] + cold]
            print(f"{name:<45}{warm:12.3f}{cold:15.3f}{'  read once per run' if once else ''}")
        print(f"{'all that is system-wide':<45}{system[0]:12.3f}{system[1]:15.3f}")
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
