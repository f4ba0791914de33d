"""Odd but healthy machines without a job that is watched: name -> machine, view, and the facts that differ."""

from __future__ import annotations

from bench.accuracy.baseline.draw import Facts

# fmt: off
HOSTS: dict[str, tuple[str, str, Facts]] = {
    # Three of eight cards are rented; who looks at all eight sees them differ.
    "a server that is partly rented": ("dgx-8xa100-80", "nvidia-smi", {
        "hw.gpu.utilization": 0.36, "hw.gpu.utilization.spread": 0.98, "hw.gpu.utilization.p5": 0.0,
            "hw.gpu.utilization.p95": 1.0,
        "hw.gpu.memory.usage": 7.1e10, "hw.gpu.memory.usage.min": 4e6, "hw.gpu.memory.utilization": 0.83,
            "hw.gpu.memory.peak_utilization": 0.83,
        "hw.gpu.process.count": 1, "hw.gpu.power": 180.0, "hw.gpu.clock.spread": 0.4}),
    "a card at rest on a narrow link": ("ws-4090", "nvidia-smi", {  # to save power
        "hw.gpu.pcie.link.gen": 1, "hw.gpu.pcie.link.gen.max": 4, "hw.gpu.pcie.link.width": 16,
            "hw.gpu.pcie.link.width.max": 16,
        "hw.gpu.pcie.link.width.ratio": 1.0}),
    "a server that holds its model at night": ("cloud-a10g", "nvidia-smi", {
        "hw.gpu.memory.usage": 2.18e10, "hw.gpu.memory.utilization": 0.91, "hw.gpu.memory.peak_utilization": 0.91,
            "hw.gpu.process.count": 1}),
    "four notebooks share a card": ("cloud-a10g", "nvidia-smi", {
        "hw.gpu.memory.usage": 1.5e10, "hw.gpu.memory.utilization": 0.62, "hw.gpu.memory.peak_utilization": 0.7,
            "hw.gpu.process.count": 4,
        "hw.gpu.utilization": 0.06, "hw.gpu.utilization.p95": 0.5}),
    "a card in seven slices": ("dgx-8xa100-40", "nvidia-smi", {
        "hw.gpu.mig.mode": True, "hw.gpu.mig.instance.count": 7, "hw.gpu.utilization": None,
            "hw.gpu.utilization.p5": None,
        "hw.gpu.utilization.p95": None, "hw.gpu.utilization.spread": None}),
    "a year without a restart": ("dgx-8xh100", "kernel log+host", {
        "hw.memory.errors.corrected": 4, "hw.pcie.errors.corrected": 9, "system.network.link_downs": 6,
            "system.memory.oom_kills": 2,
        "hw.network.rdma.link_downed": 3}),
    "a laptop that slept": ("laptop-14c-hybrid", "kernel log+host", {
        "system.network.link_downs": 30, "system.cpu.throttle.events": 2500, "system.paging.utilization": 0.5}),
    "a desktop with a full system disk": ("ws-3090", "host", {"system.filesystem.utilization": 0.88}),
    "a build runs on all cores": ("cpu-server", "host", {
        "system.cpu.utilization": 0.97, "system.cpu.user.utilization": 0.9, "system.load.per_cpu": 1.2,
            "system.pressure.cpu.some": 0.6,
        "system.cpu.saturated.count": 120}),
    "backups stream over the network": ("cloud-a10g", "exporters", {
        "system.network.utilization": 0.6, "system.network.transmit.rate": 1.9e9, "system.disk.utilization": 0.8,
        "system.disk.read.rate": 1.9e9, "system.pressure.io.some": 0.4, "system.cpu.iowait.utilization": 0.05}),
    "training seen by exporters, a core of 192 waits for storage": ("cloud-8xh100", "exporters", {
        "hw.gpu.utilization": 0.98, "hw.gpu.power": 640.0, "hw.gpu.sm.active": 0.9, "hw.gpu.tensor.active": 0.45,
            "hw.gpu.dram.active": 0.5,
        "system.cpu.iowait.utilization": 0.006, "system.pressure.io.full": None, "system.pressure.io.some": None,
        "hw.gpu.memory.usage": 7e10, "hw.gpu.memory.utilization": 0.82, "hw.gpu.memory.peak_utilization": 0.85}),
    "Keras has taken all memory": ("cloud-t4", "nvidia-smi", {
        "hw.gpu.utilization": 0.97, "hw.gpu.memory.usage": 1.55e10, "hw.gpu.memory.utilization": 0.96,
            "hw.gpu.memory.peak_utilization": 0.965,
        "hw.gpu.power": 69.0, "hw.gpu.clock.sm.ratio": 0.58, "hw.gpu.throttle.power_cap.fraction": 0.9,
            "hw.gpu.process.count": 1}),
}
# fmt: on
