"""Pages of the DCGM exporter with its default counters, profiling fields and clock event reasons, 30 s apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.accuracy.captures.exposition import family, page
from bench.accuracy.captures.machine import Gpu, Machine

PAGES, APART_S = 3, 30.0
_BITS = {"power_cap": 0x4, "sw_thermal": 0x20, "hw_thermal": 0x48, "power_brake": 0x88, "app_clocks": 0x2}
_GAUGES: Mapping[str, tuple[str, Callable[[Gpu], float]]] = {
    "DCGM_FI_DEV_SM_CLOCK": ("SM clock frequency (in MHz).", lambda g: g.clock),
    "DCGM_FI_DEV_MEM_CLOCK": ("Memory clock frequency (in MHz).", lambda g: g.model.mem_clock),
    "DCGM_FI_DEV_MEMORY_TEMP": ("Memory temperature (in C).", lambda g: round(g.temperature) + 6),
    "DCGM_FI_DEV_GPU_TEMP": ("GPU temperature (in C).", lambda g: round(g.temperature)),
    "DCGM_FI_DEV_POWER_USAGE": ("Power draw (in W).", lambda g: round(g.power, 3)),
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": ("Current power limit for the device (in W).", lambda g: g.limit),
    "DCGM_FI_DEV_GPU_UTIL": ("GPU utilization (in %).", lambda g: round(100 * g.util)),
    "DCGM_FI_DEV_MEM_COPY_UTIL": ("Memory utilization (in %).", lambda g: round(100 * g.dram)),
    "DCGM_FI_DEV_ENC_UTIL": ("Encoder utilization (in %).", lambda _: 0),
    "DCGM_FI_DEV_DEC_UTIL": ("Decoder utilization (in %).", lambda _: 0),
    "DCGM_FI_DEV_XID_ERRORS": ("Value of the last XID error encountered.", lambda g: g.told.get("xid", 0)),
    "DCGM_FI_DEV_FB_FREE": ("Framebuffer memory free (in MiB).", lambda g: g.model.memory - round(g.used) - 551),
    "DCGM_FI_DEV_FB_USED": ("Framebuffer memory used (in MiB).", lambda g: round(g.used)),
    "DCGM_FI_DEV_PCIE_LINK_GEN": ("PCIe current link generation.", lambda g: g.told.get("gen", g.model.gen)),
    "DCGM_FI_DEV_PCIE_MAX_LINK_GEN": ("PCIe maximum link generation.", lambda g: g.model.gen),
    "DCGM_FI_DEV_PCIE_LINK_WIDTH": ("PCIe current link width.", lambda g: g.told.get("width", 16)),
    "DCGM_FI_DEV_PCIE_MAX_LINK_WIDTH": ("PCIe maximum link width.", lambda _: 16),
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": ("Double-bit volatile ECC errors.", lambda g: g.told.get("ecc", 0)),
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": ("Remapped rows for uncorrectable errors.",
                                                lambda g: g.told.get("remapped", 0)),
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": ("Remapped rows for correctable errors.", lambda _: 0),
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": ("Whether remapping of rows has failed.",
                                      lambda g: float(g.told.get("remap_failed", False))),
    "DCGM_FI_DEV_ROW_REMAP_PENDING": ("Whether remapping of rows is pending.",
                                      lambda g: float(g.told.get("remap_pending", False))),
    "DCGM_FI_DEV_PERSISTENCE_MODE": ("Persistence mode.", lambda g: float(g.told.get("persistence", True))),
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": ("Current clock throttle reasons.",
                                           lambda g: sum(_BITS[r] for r in g.reasons)),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": ("Ratio of time the graphics engine is active.", lambda g: round(g.util, 6)),
    "DCGM_FI_PROF_SM_ACTIVE": ("Ratio of cycles an SM has a warp assigned.", lambda g: round(g.sm_active, 6)),
    "DCGM_FI_PROF_SM_OCCUPANCY": ("Ratio of warps resident on an SM.", lambda g: g.told.get("occupancy", 0.38)),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": ("Ratio of cycles the tensor pipe is active.", lambda g: round(g.tensor, 6)),
    "DCGM_FI_PROF_PIPE_FP64_ACTIVE": ("Ratio of cycles the fp64 pipe is active.", lambda g: g.told.get("fp64", 0.0)),
    "DCGM_FI_PROF_DRAM_ACTIVE": ("Ratio of cycles the memory interface is active.", lambda g: round(g.dram, 6)),
    "DCGM_FI_PROF_PCIE_TX_BYTES": ("PCIe bytes transmitted per second.", lambda g: g.told.get("tx", 180) * 1e6),
    "DCGM_FI_PROF_PCIE_RX_BYTES": ("PCIe bytes received per second.", lambda g: g.told.get("rx", 240) * 1e6),
}  # fmt: skip
_COUNTERS: Mapping[str, tuple[str, Callable[[Gpu], float]]] = {  # growth per second
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("Total energy consumption since boot (in mJ).", lambda g: g.power * 1e3),
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": ("Total number of PCIe retries.", lambda g: g.told.get("replay_rate", 0.0)),
    "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL": ("Total number of NVLink flow-control CRC errors.",
                                                      lambda g: g.told.get("crc_rate", 0.0)),
    "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL": ("Total number of NVLink retries.",
                                                    lambda g: g.told.get("link_replay_rate", 0.0)),
    "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL": ("Total number of NVLink recovery errors.", lambda _: 0.0),
}  # fmt: skip


def scrapes(machine: Machine) -> dict[str, str]:
    """The pages; each begins with what a comment of the person who saved it tells of the time."""
    return {f"dcgm-{i}.prom": _page(machine, i) for i in range(PAGES)}


def _page(machine: Machine, number: int) -> str:
    rng = machine.noise(f"dcgm {number}")
    stamp = round((1_741_700_000 + number * APART_S) * 1000)
    lines = []
    for name, (text, of) in _GAUGES.items():
        wave = rng.uniform(0.99, 1.01) if name.endswith(("POWER_USAGE", "_ACTIVE", "_BYTES")) else 1.0
        lines.append(family(name, "gauge", [(_labels(machine, g), of(g) * wave) for g in machine.gpus], text))
    for name, (text, of) in _COUNTERS.items():
        grown = [(_labels(machine, g), round(of(g) * (86_400 + number * APART_S))) for g in machine.gpus]
        lines.append(family(name, "counter", grown, text))
    stamped = [line if line.startswith("#") else f"{line} {stamp}" for family_ in lines for line in family_]
    return page(stamped)


def _labels(machine: Machine, gpu: Gpu) -> dict[str, object]:
    return {
        "gpu": gpu.index, "UUID": gpu.uuid, "pci_bus_id": gpu.bus, "device": f"nvidia{gpu.index}",
        "modelName": gpu.model.name, "Hostname": "node-17",
        "DCGM_FI_DRIVER_VERSION": machine.section("gpus").get("driver", "570.124.06"),
    }  # fmt: skip
