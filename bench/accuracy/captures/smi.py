"""What nvidia-smi prints: the long query, the scrolling table, chosen fields, the topology, the links."""

# ruff: noqa: E501 - lines of tools are as long as they are

from __future__ import annotations

from collections.abc import Iterator

from bench.accuracy.captures.machine import Gpu, Machine

_DAY = "Tue Mar 11 14:{m:02d}:{s:02d} 2025"
_ON = {True: "Active", False: "Not Active"}
_ABLE = {True: "Enabled", False: "Disabled"}
_TREE = """\
GPU {bus}
    Product Name                          : {name}
    Product Brand                         : NVIDIA
    Product Architecture                  : {arch}
    Display Mode                          : Disabled
    Display Active                        : Disabled
    Persistence Mode                      : {persistence}
    Addressing Mode                       : None
    MIG Mode
        Current                           : {mig}
        Pending                           : {mig}
    Accounting Mode                       : Disabled
    Accounting Mode Buffer Size           : 4000
    Driver Model
        Current                           : N/A
        Pending                           : N/A
    Serial Number                         : 16530{index:08d}
    GPU UUID                              : {uuid}
    Minor Number                          : {index}
    VBIOS Version                         : 96.00.99.00.01
    MultiGPU Board                        : No
    Board ID                              : 0x{board}00
    GPU Part Number                       : 2330-885-A1
    GPU Virtualization Mode
        Virtualization Mode               : None
        Host VGPU Mode                    : N/A
    GPU Reset Status
        Reset Required                    : {reset}
        Drain and Reset Recommended       : No
    PCI
        Bus                               : 0x{board}
        Device                            : 0x00
        Domain                            : 0x0000
        Base Classcode                    : 0x3
        Sub Classcode                     : 0x2
        Device Id                         : 0x233010DE
        Bus Id                            : {bus}
        Sub System Id                     : 0x16C110DE
        GPU Link Info
            PCIe Generation
                Max                       : {gen_max}
                Current                   : {gen}
                Device Current            : {gen}
                Device Max                : {gen_max}
                Host Max                  : {gen_max}
            Link Width
                Max                       : 16x
                Current                   : {width}x
        Bridge Chip
            Type                          : N/A
            Firmware                      : N/A
        Replays Since Reset               : {replays}
        Replay Number Rollovers           : 0
        Tx Throughput                     : {tx} KB/s
        Rx Throughput                     : {rx} KB/s
    Fan Speed                             : N/A
    Performance State                     : P0
    Clocks Event Reasons
        Idle                              : Not Active
        Applications Clocks Setting       : {app_clocks}
        SW Power Cap                      : {power_cap}
        HW Slowdown                       : {hw_slowdown}
            HW Thermal Slowdown           : {hw_thermal}
            HW Power Brake Slowdown       : {power_brake}
        Sync Boost                        : Not Active
        SW Thermal Slowdown               : {sw_thermal}
        Display Clock Setting             : Not Active
    FB Memory Usage
        Total                             : {total} MiB
        Reserved                          : 551 MiB
        Used                              : {used:.0f} MiB
        Free                              : {free:.0f} MiB
    BAR1 Memory Usage
        Total                             : 131072 MiB
        Used                              : 3 MiB
        Free                              : 131069 MiB
    Compute Mode                          : Default
    Utilization
        Gpu                               : {util:.0f} %
        Memory                            : {dram:.0f} %
        Encoder                           : 0 %
        Decoder                           : 0 %
        JPEG                              : 0 %
        OFA                               : 0 %
    Encoder Stats
        Active Sessions                   : 0
        Average FPS                       : 0
        Average Latency                   : 0
    ECC Mode
        Current                           : Enabled
        Pending                           : Enabled
    ECC Errors
        Volatile
            SRAM Correctable              : 0
            SRAM Uncorrectable Parity     : 0
            SRAM Uncorrectable SEC-DED    : 0
            DRAM Correctable              : 0
            DRAM Uncorrectable            : {ecc}
        Aggregate
            SRAM Correctable              : 0
            SRAM Uncorrectable Parity     : 0
            SRAM Uncorrectable SEC-DED    : 0
            DRAM Correctable              : 0
            DRAM Uncorrectable            : {ecc}
            SRAM Threshold Exceeded       : No
    Retired Pages
        Single Bit ECC                    : N/A
        Double Bit ECC                    : N/A
        Pending Page Blacklist            : N/A
    Remapped Rows
        Correctable Error                 : 0
        Uncorrectable Error               : {remapped}
        Pending                           : {remap_pending}
        Remapping Failure Occurred        : {remap_failed}
    Temperature
        GPU Current Temp                  : {temperature:.0f} C
        GPU T.Limit Temp                  : {margin:.0f} C
        GPU Shutdown T.Limit Temp         : -8 C
        GPU Slowdown T.Limit Temp         : -2 C
        GPU Max Operating T.Limit Temp    : 0 C
        GPU Target Temperature            : N/A
        Memory Current Temp               : {memory_temperature:.0f} C
        Memory Max Operating T.Limit Temp : 0 C
    GPU Power Readings
        Average Power Draw                : {power:.2f} W
        Instantaneous Power Draw          : {power:.2f} W
        Current Power Limit               : {limit:.2f} W
        Requested Power Limit             : {limit:.2f} W
        Default Power Limit               : {default:.2f} W
        Min Power Limit                   : 200.00 W
        Max Power Limit                   : {default:.2f} W
    Clocks
        Graphics                          : {clock:.0f} MHz
        SM                                : {clock:.0f} MHz
        Memory                            : {mem_clock} MHz
        Video                             : 1545 MHz
    Applications Clocks
        Graphics                          : {app_clock:.0f} MHz
        Memory                            : {mem_clock} MHz
    Default Applications Clocks
        Graphics                          : {clock_max} MHz
        Memory                            : {mem_clock} MHz
    Max Clocks
        Graphics                          : {clock_max} MHz
        SM                                : {clock_max} MHz
        Memory                            : {mem_clock} MHz
        Video                             : 1545 MHz
    Processes
"""
_PROCESS = """\
        GPU instance ID                   : N/A
        Compute instance ID               : N/A
        Process ID                        : {pid}
            Type                          : C
            Name                          : {name}
            Used GPU Memory               : {used:.0f} MiB
"""


def query(machine: Machine) -> dict[str, str]:
    """``nvidia-smi -q``."""
    told = machine.section("gpus")
    head = (
        f"\n==============NVSMI LOG==============\n\nTimestamp                                 : {_DAY.format(m=3, s=7)}\n"
        f"Driver Version                            : {told.get('driver', '570.124.06')}\n"
        f"CUDA Version                              : {told.get('cuda', '12.8')}\n\n"
        f"Attached GPUs                             : {len(machine.gpus)}\n"
    )
    return {"nvidia-smi-q.txt": head + "\n".join(_tree(gpu) for gpu in machine.gpus)}


def _tree(gpu: Gpu) -> str:
    told, model = gpu.told, gpu.model
    reasons = {n: _ON[n in gpu.reasons] for n in ("power_cap", "hw_thermal", "sw_thermal", "power_brake", "app_clocks")}
    slowed = gpu.reasons & {"hw_thermal", "power_brake"}
    text = _TREE.format(
        bus=gpu.bus, name=model.name, arch={5: "Hopper"}.get(model.gen, "Ampere"), index=gpu.index, uuid=gpu.uuid,
        board=gpu.bus[9:11], persistence=_ABLE[told.get("persistence", True)], mig=_ABLE[told.get("mig", False)],
        reset="Yes" if told.get("reset") else "No", gen=told.get("gen", model.gen), gen_max=model.gen,
        width=told.get("width", 16), replays=told.get("replays", 0), tx=round(told.get("tx", 180) * 1000),
        rx=round(told.get("rx", 240) * 1000), total=model.memory, used=gpu.used, free=model.memory - gpu.used - 551,
        util=100 * gpu.util, dram=100 * gpu.dram, ecc=told.get("ecc", 0), remapped=told.get("remapped", 0),
        remap_pending="Yes" if told.get("remap_pending") else "No",
        remap_failed="Yes" if told.get("remap_failed") else "No",
        temperature=gpu.temperature, margin=model.slowdown - gpu.temperature, memory_temperature=gpu.temperature + 6,
        power=gpu.power, limit=gpu.limit, default=float(model.power), clock=gpu.clock, clock_max=model.clock,
        app_clock=told.get("clock", model.clock) if "app_clocks" in gpu.reasons else model.clock,
        mem_clock=model.mem_clock, hw_slowdown=_ON[bool(slowed)], **reasons,
    )  # fmt: skip
    return text + "".join(_PROCESS.format(pid=pid, name=name, used=used) for pid, name, used in processes(gpu))


def processes(gpu: Gpu) -> list[tuple[int, str, float]]:
    """Pid, name and MiB of the compute processes: that of the job, and what the description adds."""
    others = [(int(p["pid"]), str(p["name"]), float(p["used"])) for p in gpu.told.get("others", ())]
    own = gpu.used - 600 - sum(used for _, _, used in others)
    return [(41210 + gpu.index, "/opt/conda/bin/python", own), *others]


def dmon(machine: Machine) -> dict[str, str]:
    """``nvidia-smi dmon -s pucm -c 12``."""
    lines: list[str] = []
    heading = "# gpu    pwr  gtemp  mtemp     sm    mem    enc    dec    jpg    ofa   mclk   pclk     fb   bar1   ccpm"
    units = "# Idx      W      C      C      %      %      %      %      %      %    MHz    MHz     MB     MB     MB"
    rng = machine.noise("dmon")
    for moment in range(12):
        if moment % 4 == 0:
            lines += [heading, units]
        for gpu in machine.gpus:
            power, sm = min(gpu.limit, gpu.power * rng.uniform(0.97, 1.02)), _level(gpu.util, rng.uniform(-0.02, 0.02))
            cells = [gpu.index, power, gpu.temperature, gpu.temperature + 6, sm, 100 * gpu.dram, 0, 0, 0, 0,
                     gpu.model.mem_clock, gpu.clock, gpu.used, 3, 0]  # fmt: skip
            lines.append("".join(f"{cell:7.0f}" for cell in cells)[2:])
    return {"dmon.txt": "\n".join(lines) + "\n"}


def _level(share: float, noise: float) -> float:
    return 100 * min(1.0, max(0.0, share + (noise if share < 0.98 else 0.0)))


_FIELDS = (
    "timestamp, index, name, pci.bus_id, driver_version, pstate, pcie.link.gen.gpucurrent, pcie.link.gen.max, "
    "pcie.link.width.current, pcie.link.width.max, temperature.gpu, utilization.gpu [%], utilization.memory [%], "
    "memory.total [MiB], memory.used [MiB], memory.free [MiB], power.draw [W], enforced.power.limit [W], "
    "power.default_limit [W], clocks.current.sm [MHz], clocks.max.sm [MHz], clocks_event_reasons.active, "
    "ecc.errors.uncorrected.volatile.total, persistence_mode"
)
_BITS = {"power_cap": 0x4, "sw_thermal": 0x20, "hw_thermal": 0x48, "power_brake": 0x88, "app_clocks": 0x2}


def fields(machine: Machine) -> dict[str, str]:
    """``nvidia-smi --query-gpu=... --format=csv -l 5``."""
    rng = machine.noise("fields")
    lines = [_FIELDS, *(row for moment in range(10) for row in _rows(machine, moment, rng.uniform(-0.02, 0.02)))]
    return {"query-gpu.csv": "\n".join(lines) + "\n"}


def _rows(machine: Machine, moment: int, noise: float) -> Iterator[str]:
    for g in machine.gpus:
        mask = sum({_BITS[r] for r in g.reasons})
        cells = [
            f"2025/03/11 14:{10 + moment * 5 // 60:02d}:{moment * 5 % 60:02d}.{100 + g.index}", g.index, g.model.name,
            g.bus, "570.124.06", "P0", g.told.get("gen", g.model.gen), g.model.gen, g.told.get("width", 16), 16,
            f"{g.temperature:.0f}", f"{_level(g.util, noise):.0f} %", f"{100 * g.dram:.0f} %",
            f"{g.model.memory} MiB", f"{g.used:.0f} MiB", f"{g.model.memory - g.used - 551:.0f} MiB",
            f"{g.power * (1 + noise / 4):.2f} W", f"{g.limit:.2f} W", f"{g.model.power:.2f} W", f"{g.clock:.0f} MHz",
            f"{g.model.clock} MHz", f"0x{mask:016X}", g.told.get("ecc", 0),
            _ABLE[g.told.get("persistence", True)],
        ]  # fmt: skip
        yield ", ".join(map(str, cells))


_LEGEND = """
Legend:

  X    = Self
  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes (e.g., QPI/UPI)
  NODE = Connection traversing PCIe as well as the interconnect between PCIe Host Bridges within a NUMA node
  PHB  = Connection traversing PCIe as well as a PCIe Host Bridge (typically the CPU)
  PXB  = Connection traversing multiple PCIe bridges (without traversing the PCIe Host Bridge)
  PIX  = Connection traversing at most a single PCIe bridge
  NV#  = Connection traversing a bonded set of # NVLinks
"""


def topology(machine: Machine) -> dict[str, str]:
    """``nvidia-smi topo -m`` of a machine with one network adapter per GPU, or as many as are told."""
    told, gpus = machine.section("topology"), machine.gpus
    nics = told.get("nics", len(gpus))
    names = [f"GPU{g.index}" for g in gpus] + [f"NIC{i}" for i in range(nics)]
    half = (len(gpus) + 1) // 2

    def way(a: int, b: int) -> str:
        if a == b:
            return " X "
        near = (a % len(gpus) < half) == (b % len(gpus) < half)
        if a < len(gpus) and b < len(gpus):
            active = machine.model.links - max(len(gpus[i].told.get("links_down", ())) for i in (a, b))
            return f"NV{active}" if active else "PHB" if near else "SYS"
        gpu, nic = sorted((a, b))
        if gpu < len(gpus) and nic - len(gpus) == told.get("nic_of", {}).get(gpu, gpu):
            return str(told.get("nic_path", "PIX"))
        return "NODE" if near else "SYS"

    lines = ["\t" + "\t".join(names) + "\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID"]
    for a, name in enumerate(names):
        row = name + "\t" + "\t".join(way(a, b) for b in range(len(names)))
        cpus = ("0-47,96-143\t0" if a < half else "48-95,144-191\t1") + "\t\tN/A"
        lines.append(row + ("\t" + cpus if a < len(gpus) else ""))
    legend = [f"  NIC{i}: mlx5_{i}" for i in range(nics)]
    return {"topo.txt": "\n".join(lines) + "\n" + _LEGEND + "\nNIC Legend:\n\n" + "\n".join(legend) + "\n"}


def links(machine: Machine) -> dict[str, str]:
    """``nvidia-smi nvlink --status``."""
    lines = []
    for gpu in machine.gpus:
        lines.append(f"GPU {gpu.index}: {gpu.model.name} (UUID: {gpu.uuid})")
        down = set(gpu.told.get("links_down", ()))
        for link in range(gpu.model.links):
            rate = "<inactive>" if link in down else f"{gpu.model.link_rate:.3f} GB/s"
            lines.append(f"\t Link {link}: {rate}")
    return {"nvlink.txt": "\n".join(lines) + "\n"}
