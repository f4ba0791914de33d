"""What is read beside the run: kernel log, stacks, probes and the script, where nothing is wrong.

A healthy machine's log is not empty: a corrected memory or PCIe error now and then, an interface that went down
while the machine started, a laptop that throttled its CPU for a moment.
"""

from __future__ import annotations

from bench.accuracy.baseline.draw import Draw, Facts, nice
from bench.accuracy.baseline.host import RATE
from bench.accuracy.baseline.machines import Machine

QUIET = """system.kernel.oom_kills.host system.kernel.oom_kills.cgroup system.kernel.hung_tasks
system.kernel.lockups system.kernel.crashes system.kernel.machine_checks system.disk.timeouts
system.disk.errors system.filesystem.errors system.filesystem.server_timeouts
hw.memory.errors.uncorrected hw.pcie.errors.uncorrected hw.pcie.link.narrow.count hw.nvswitch.sxid.count
hw.nvswitch.sxid.fatal.count hw.nvswitch.sxid.last hw.gpu.lost.count hw.gpu.peermem.errors""".split()


def kernel_facts(draw: Draw, machine: Machine) -> Facts:
    """What the log tells since the machine started."""
    facts: Facts = dict.fromkeys(QUIET, 0)
    facts["hw.memory.errors.corrected"] = draw.one(0, 0, 0, 1, 2) if machine.kind == "server" else 0
    facts["hw.pcie.errors.corrected"] = draw.one(0, 0, 0, 1, 3)
    facts["system.cpu.throttle.events"] = draw.whole(1, 400) if machine.kind == "laptop" else 0
    facts["system.network.link_downs"] = draw.one(0, 0, 1)
    facts["system.disk.raid.degraded.count"] = 0
    facts["system.disk.raid.rebuilding.count"] = 0
    return facts


def stack_facts(draw: Draw, ranks: int, workers: int) -> Facts:
    """Stacks of a moment: the main threads launch or wait for the GPU, the workers wait to be given work."""
    return {
        "process.stack.samples": ranks,
        "process.stack.state": draw.one("backward", "forward", "device synchronisation"),
        "process.stack.data_wait.fraction": 0.0,
        "process.stack.collective.fraction": draw(0.0, 0.2) if ranks > 1 else 0.0,
        "process.stack.worker.samples": ranks * workers,
        "process.stack.worker.idle.fraction": draw(0.3, 0.95),
    }


def probe_facts(draw: Draw, machine: Machine) -> Facts:
    """What the active probes reach on sound hardware."""
    facts: Facts = {
        "probe.disk.read.rate": nice(RATE[machine.disk] * draw(0.5, 1.0)),
        "probe.memory.copy.rate": draw(8e9, 40e9) if machine.kind != "server" else draw(30e9, 90e9),
    }
    if machine.gpu and not machine.gpu.amd:
        lane = {3: 12e9, 4: 25e9, 5: 52e9}[machine.gpu.pcie]
        facts |= {
            "probe.gpu.h2d.rate": nice(lane * draw(0.9, 1.0)),
            "probe.gpu.h2d.pageable.rate": nice(lane * draw(0.2, 0.5)),
        }
        facts["probe.matmul.bf16.rate"] = nice(machine.gpu.flops * draw(0.62, 0.82))
    return facts


def script_facts(reads: bool) -> Facts:
    """What the script says; `reads` where its loop reads the loss in every step, which a busy GPU does not notice."""
    places = "cache_flush element_loop gc_collect graph_kept save synchronize tensor_growth blocking_copy".split()
    return {f"code.{place}.count": 0 for place in places} | {"code.host_read.count": int(reads)}
