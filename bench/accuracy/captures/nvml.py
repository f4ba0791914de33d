"""What the stand-in of the NVIDIA driver library answers from: the same machine, as NVML tells it."""

# ruff: noqa: E501 - tables read better in one line

from __future__ import annotations

from bench.accuracy.captures.machine import BUSES, Gpu, Machine

SAMPLES = 6
_BITS = {"power_cap": 0x4, "sw_thermal": 0x20, "hw_thermal": 0x48, "power_brake": 0x88, "app_clocks": 0x2}


def answers(machine: Machine) -> list[str]:
    """One text per sample, a second apart."""
    return [_sample(machine, n) for n in range(SAMPLES)]


def _sample(machine: Machine, number: int) -> str:
    told = machine.section("gpus")
    lines = [f"- count {len(machine.gpus)}", f"- version {told.get('driver', '570.124.06')}", "- cuda 12080",
             "* capability 9 0", "* encoder 0", "* decoder 0", "* sram 0", "* compute_mode 0", "* field.138 3 1000",
             "* field.161 3 0", "* field.162 3 0", "* field.163 3 0", "* ancestor 50", "* p2p.0 0", "* p2p.1 0",
             "* p2p.2 0", "* gpm 1", "* events 0x1f", f"* field.91 1 {machine.model.links}"]  # fmt: skip
    for gpu in machine.gpus:
        lines += _gpu(machine, gpu, number)
    return "\n".join(lines) + "\n"


def _gpu(machine: Machine, g: Gpu, number: int) -> list[str]:
    told, model = g.told, g.model
    rng = machine.noise(f"nvml {g.index} {number}")
    util = 100 * g.util if g.util >= 0.98 else 100 * min(1.0, g.util * rng.uniform(0.97, 1.03))
    values = {
        "name": model.name, "bus": f"0000:{BUSES[g.index].lower()}:00.0", "uuid": g.uuid, "util": round(util),
        "memory": f"{round(g.used * 2**20)} {model.memory * 2**20}", "power": round(g.power * 1e3 * rng.uniform(0.98, 1.0)),
        "power_limit": round(g.limit * 1e3), "power_default": model.power * 1000, "temperature": round(g.temperature),
        "slowdown": model.slowdown, "sm_clock": round(g.clock), "sm_clock_max": model.clock,
        "reasons": hex(sum(_BITS[r] for r in g.reasons)), "gen": told.get("gen", model.gen), "gen_max": model.gen,
        "width": told.get("width", 16), "width_max": 16, "tx": round(told.get("tx", 180) * 1000),
        "rx": round(told.get("rx", 240) * 1000),
        "replays": round(told.get("replay_rate", 0.0) * number + told.get("replays", 0)), "ecc": told.get("ecc", 0),
        "remapped": f"0 {told.get('remapped', 0)} {int(told.get('remap_pending', False))} {int(told.get('remap_failed', False))}",
        "persistence": int(told.get("persistence", True)), "mig": int(told.get("mig", False)),
        "gpm.2": round(100 * g.sm_active, 1), "gpm.3": round(100 * told.get("occupancy", 0.38), 1),
        "gpm.5": round(100 * g.tensor, 1), "gpm.10": round(100 * g.dram, 1), "gpm.11": round(100 * told.get("fp64", 0.0), 1),
        "gpm.20": round(told.get("tx", 180)), "gpm.21": round(told.get("rx", 240)), "gpm.61": round(told.get("nvlink", 42_000)),
    }  # fmt: skip
    lines = [f"{g.index} {key} {value}" for key, value in values.items()]
    down = set(told.get("links_down", ()))
    lines += [f"{g.index} link.{i} {int(i not in down)} 2 0000:05:00.0" for i in range(model.links)]
    return lines
