"""What live collection costs: CPU milliseconds per reading of each collector, beside its peers over the same job.

Run it as ``python bench/collect_cost.py [--rounds N]``. It starts 50 sleeping children with a few threads each, so
the process tree is a large one. A costly source is read less often than once a second; the sums count what it costs
per second. The peers: psutil, nvitop (the part of it that needs no GPU) and node_exporter (Debian's
prometheus-node-exporter with its default collectors). Read the ratios: absolute times are this machine's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence

import psutil
from peers import NVITOP, ROOT, Missing, python

from advisor.collect.base import Collector
from advisor.collect.sampler import default_collectors

CHILDREN, THREADS = 50, 4
CHILD = f"""
import threading, time
for _ in range({THREADS - 1}):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
time.sleep(600)
"""
WARM = 40  # readings back to back
SCRAPES = 50
ATTRIBUTES = ["pid", "ppid", "cpu_times", "memory_info", "num_threads", "io_counters"]
# A process that does nothing but sample, as `advisor run` and the monitor do.
SAMPLER = """
import sys, time
from advisor.collect.sampler import Sampler, default_collectors
sampler = Sampler(default_collectors(int(sys.argv[1])))
sampler.start()
time.sleep(2)
began, before = time.monotonic(), time.process_time()
time.sleep(float(sys.argv[2]))
cpu = (time.process_time() - before) / (time.monotonic() - began)
rss = next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]
print(cpu * 1000, int(rss) / 1000, flush=True)
"""
# What nvitop knows of a host without a GPU: the load, and its process snapshots.
NVITOP_LOOP = """
import sys, time
from nvitop import HostProcess, host
root = HostProcess(int(sys.argv[1]))
names = ("pid", "ppid", "cpu_times", "memory_info", "num_threads", "io_counters", "cmdline", "username")
def look():
    host.cpu_percent(), host.virtual_memory(), host.swap_memory(), host.load_average()
    return [process.as_snapshot(names) for process in (root, *root.children(recursive=True))]
def cost(rounds, pause):
    spent = 0.0
    for _ in range(rounds):
        time.sleep(pause)
        began = time.thread_time()
        look()
        spent += time.thread_time() - began
    return spent * 1000 / rounds
look()
warm, cold = cost(10, 0.0), cost(int(sys.argv[2]), 1.0)
rss = next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]
print(warm, cold, int(rss) / 1000)
"""


def spent(act: Callable[[], object]) -> float:
    """CPU milliseconds of one call."""
    began = time.thread_time()
    act()
    return (time.thread_time() - began) * 1000


def readable(collector: Collector) -> str | None:
    """Why a source cannot be read here; None when it can."""
    try:
        collector.read()
    except OSError as error:
        return str(error)
    return None


def line(name: str, numbers: Sequence[float], note: str = "") -> None:
    """One row: CPU ms back to back, CPU ms once a second, MB; a missing one is negative."""
    cells = "".join(f"{number:14.2f}" if number >= 0 else f"{'-':>14}" for number in numbers)
    print(f"{name:<42}{cells}  {note}".rstrip(), flush=True)


def collectors(rounds: int) -> None:
    """Each collector, and psutil's own walk over all processes; all of them in turn once a second, as in use."""
    acts: dict[str, Callable[[], object]] = {}
    pauses: dict[str, float] = {}
    job = set()
    for collector in default_collectors(os.getpid()):
        name = f"{collector.kind}, {collector.origin}"
        said = readable(collector)
        if said is not None:
            line(name, (-1, -1, -1), said)
            continue
        acts[name] = collector.read
        pauses[name] = 0.0 if getattr(collector, "once", False) else max(1.0, getattr(collector, "pause_s", 1.0))
        if collector.kind == "process":
            job.add(name)
    acts["psutil.process_iter"] = lambda: list(psutil.process_iter(ATTRIBUTES))
    # One call before anything counts: it may set things up.
    warm = {name: statistics.median([spent(act) for _ in range(WARM + 1)][1:]) for name, act in acts.items()}
    cold: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):
        time.sleep(1.0)
        for name, act in acts.items():
            cold[name].append(spent(act))
    usual = {name: statistics.mean(values) for name, values in cold.items()}
    for name, pause in pauses.items():
        line(name, (warm[name], usual[name], -1), "read once per run" if not pause else f"read every {pause:.0f} s")
    for title, part in (("all that is system-wide", pauses.keys() - job), ("all that looks at the job", job)):
        due = [name for name in part if pauses[name]]
        sums = [sum(numbers[name] / pauses[name] for name in due) for numbers in (warm, usual)]
        line(f"{title}, per second", (*sums, -1))
    line("psutil.process_iter", (warm["psutil.process_iter"], usual["psutil.process_iter"], -1), "all processes")


def sampler(rounds: int) -> None:
    """The whole sampler in a process of its own: CPU per second with all its threads, and memory."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", SAMPLER, str(os.getpid()), str(rounds)]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=True)
    cpu, memory = map(float, done.stdout.split())
    line("advisor's sampler as a process, per second", (-1, cpu, memory), "all of the above, in their threads")


def nvitop(rounds: int) -> None:
    """The host part of nvitop: load, memory, and a snapshot of each process of the job."""
    try:
        program = python(NVITOP)
    except Missing as missing:
        line("nvitop", (-1, -1, -1), str(missing))
        return
    argv = [str(program), "-c", NVITOP_LOOP, str(os.getpid()), str(rounds)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        line("nvitop", (-1, -1, -1), (done.stderr.strip().splitlines() or ["it said nothing"])[-1])
        return
    line("nvitop, host and job", [float(part) for part in done.stdout.split()], f"{NVITOP}, HostProcess.as_snapshot")


def node_exporter() -> None:
    """node_exporter: CPU of its process per scrape, and its memory; it looks at no single process."""
    program = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    if program is None:
        line("node_exporter", (-1, -1, -1), "not installed (apt-get install prometheus-node-exporter)")
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen([program, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(50):
            time.sleep(0.1)
            if scrape(address):
                break
        else:
            line("node_exporter", (-1, -1, -1), "it did not answer within 5 s")
            return
        warm = scrapes(process.pid, address, 0.0)
        cold = scrapes(process.pid, address, 0.2)
        memory = psutil.Process(process.pid).memory_info().rss / 1e6
        line("node_exporter, per scrape", (warm, cold, memory), f"{SCRAPES} scrapes; back to back and 0.2 s apart")
    finally:
        process.kill()
        process.wait()


def scrapes(pid: int, address: str, pause: float) -> float:
    """CPU milliseconds of the exporter's process per scrape."""
    clock = (~pid << 3) | 2  # what clock_getcpuclockid(3) gives
    began = time.clock_gettime(clock)
    for _ in range(SCRAPES):
        time.sleep(pause)
        scrape(address)
    return (time.clock_gettime(clock) - began) * 1000 / SCRAPES


def scrape(address: str) -> int:
    """The size of an answer, 0 while there is none."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            return len(answer.read())
    except OSError:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what collecting from the live machine costs.")
    parser.add_argument("--rounds", type=int, default=15, help="readings of each collector, one a second")
    rounds = parser.parse_args().rounds
    children = [subprocess.Popen([sys.executable, "-S", "-c", CHILD]) for _ in range(CHILDREN)]
    try:
        time.sleep(3)
        print(f"{len(psutil.pids())} processes, {CHILDREN} of them in the tree with {THREADS} threads each; "
              f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
        print(f"{'CPU ms per reading':<42}{'back to back':>14}{'once a second':>14}{'MB':>14}")
        collectors(rounds)
        sampler(rounds)
        nvitop(rounds)
        node_exporter()
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()


if __name__ == "__main__":
    main()
