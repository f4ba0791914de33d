"""What the tools of a host print: vmstat, iostat -x, free, top, nfsiostat."""

# ruff: noqa: E501 - lines of tools are as long as they are

from __future__ import annotations

from bench.accuracy.captures.host import Host
from bench.accuracy.captures.machine import Machine

_TASKS = (
    ("python", 98.7), ("pt_data_worker", 34.0), ("pt_data_worker", 31.3), ("pt_data_worker", 30.1), ("dcgm-exporter", 2.0),
    ("node_exporter", 0.7), ("kubelet", 1.3), ("containerd", 0.7), ("systemd", 0.0), ("sshd", 0.0),
)  # fmt: skip


def vmstat(machine: Machine) -> dict[str, str]:
    """``vmstat 5 6``: the first line is the mean since boot."""
    host, rng = Host(machine), machine.noise("vmstat")
    free = max(1.0, host["memory_gib"] - host["used_gib"] - host["cached_gib"]) * 2**20
    lines = [
        "$ vmstat 5 6",
        "procs -----------memory---------- ---swap-- -----io---- -system-- ------cpu-----",
        " r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st",
    ]
    for _ in range(6):
        m = {name: 100 * share * rng.uniform(0.97, 1.03) for name, share in host.modes.items()}
        waiting = min(host.disk.queue, host["cpus"]) if host.disk.queue >= 1 else 0
        read = host.disk.reads * host.disk.request_kb
        swap = host["swap_in"] * 4
        idle = max(0.0, 100 - m["user"] - m["system"] - m["softirq"] - m["iowait"] - m["steal"])
        running = (m["user"] + m["system"]) / 100 * host["cpus"]
        lines.append(
            f"{running:2.0f} {waiting:2.0f} {host['swapped_gib'] * 2**20:6.0f} {free:6.0f} 1992294 {host['cached_gib'] * 2**20:6.0f}"
            f" {swap:4.0f} {1.2 * swap:4.0f} {read:5.0f} {host['write_mb'] * 1024:5.0f} {58211:4d} {94120:4d}"
            f" {m['user']:2.0f} {m['system'] + m['softirq']:2.0f} {idle:2.0f} {m['iowait']:2.0f} {m['steal']:2.0f}"
        )
    return {"vmstat.txt": "\n".join(lines) + "\n"}


def iostat(machine: Machine) -> dict[str, str]:
    """``iostat -x 5 4``: the first report is the mean since boot."""
    host, rng = Host(machine), machine.noise("iostat")
    parts = [f"Linux 5.15.0-131-generic (node-17) \t03/11/2025 \t_x86_64_\t({host['cpus']} CPU)\n"]
    heading = (
        "Device            r/s     rkB/s   rrqm/s  %rrqm r_await rareq-sz     w/s     wkB/s   wrqm/s  %wrqm w_await "
        "wareq-sz     d/s     dkB/s   drqm/s  %drqm d_await dareq-sz     f/s f_await  aqu-sz  %util"
    )
    for _ in range(4):
        m = {name: 100 * share for name, share in host.modes.items()}
        parts.append(
            "avg-cpu:  %user   %nice %system %iowait  %steal   %idle\n"
            f"          {m['user']:6.2f}    0.00  {m['system'] + m['softirq']:6.2f}  {m['iowait']:6.2f}  {m['steal']:6.2f}  {m['idle']:6.2f}\n"
        )
        wave = rng.uniform(0.98, 1.02)
        disk = host.disk
        rows = [_device("nvme0n1", disk.reads * wave, disk.request_kb, disk.latency, host["write_mb"] * 1000,
                        host.told.get("write_s", 0.0004), disk.queue, disk.busy),
                _device("sda", 0.4, 8.0, 0.0008, 9.0, 0.0011, 0.0, 0.001)]  # fmt: skip
        parts.append("\n".join([heading, *rows]) + "\n")
    return {"iostat.txt": "\n".join(parts)}


def _device(
    name: str, reads: float, kb: float, latency: float, written: float, write_s: float, queue: float, busy: float
) -> str:
    queue += written / 128 * write_s
    return (
        f"{name:<10}{reads:11.2f} {reads * kb:9.2f}     0.00   0.00 {latency * 1e3:7.2f} {kb:8.2f}"
        f" {written / 128:7.2f} {written:9.2f}     0.60   1.20 {write_s * 1e3:7.2f} {128.0:8.2f}"
        f"    0.00      0.00     0.00   0.00    0.00     0.00    0.20    0.10 {queue:7.2f} {busy * 100:6.2f}"
    )


def free(machine: Machine) -> dict[str, str]:
    """``free -m``."""
    host = Host(machine)
    total, used = host["memory_gib"] * 1024, host["used_gib"] * 1024
    cached = min(host["cached_gib"] * 1024, max(1024.0, total - used - 4096))
    swap, swapped = host["swap_gib"] * 1024, host["swapped_gib"] * 1024
    text = (
        "$ free -m\n"
        "               total        used        free      shared  buff/cache   available\n"
        f"Mem:    {total:12.0f}{used:12.0f}{max(900.0, total - used - cached):12.0f}{3072:12.0f}{cached:12.0f}"
        f"{host.available_gib * 1024:12.0f}\n"
        f"Swap:   {swap:12.0f}{swapped:12.0f}{swap - swapped:12.0f}\n"
    )
    return {"free.txt": text}


def top(machine: Machine) -> dict[str, str]:
    """``top -b -n 1``."""
    host = Host(machine)
    m = {name: 100 * share for name, share in host.modes.items()}
    total, used = host["memory_gib"] * 1024, host["used_gib"] * 1024
    cached = min(host["cached_gib"] * 1024, max(1024.0, total - used - 4096))
    load = (m["user"] + m["system"]) / 100 * host["cpus"] + min(host.disk.queue, host["cpus"])
    tasks = "\n".join(
        f"{41000 + 17 * i:7d} train     20   0  112.4g   9.8g   1.2g {'R' if cpu > 20 else 'S'} {cpu:6.1f}   1.0  101:17.31 {name}"
        for i, (name, cpu) in enumerate(_TASKS)
    )
    text = (
        f"top - 14:03:11 up 10 days,  2:14,  2 users,  load average: {load:.2f}, {load * 0.98:.2f}, {load * 0.95:.2f}\n"
        "Tasks: 1342 total,  12 running, 1330 sleeping,   0 stopped,   0 zombie\n"
        f"%Cpu(s): {m['user']:4.1f} us, {m['system']:4.1f} sy,  0.0 ni, {m['idle']:4.1f} id, {m['iowait']:4.1f} wa,"
        f"  0.0 hi, {m['softirq']:4.1f} si, {m['steal']:4.1f} st\n"
        f"MiB Mem : {total:9.1f} total, {max(900.0, total - used - cached):9.1f} free, {used:9.1f} used, {cached:9.1f} buff/cache\n"
        f"MiB Swap: {host['swap_gib'] * 1024:9.1f} total, {(host['swap_gib'] - host['swapped_gib']) * 1024:9.1f} free,"
        f" {host['swapped_gib'] * 1024:9.1f} used. {host.available_gib * 1024:9.1f} avail Mem\n\n"
        "    PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND\n"
    )
    return {"top.txt": text + tasks + "\n"}


def ibstat(machine: Machine) -> dict[str, str]:
    """``ibstat``: one adapter of 400 Gb/s per GPU, some perhaps trained lower."""
    host = Host(machine)
    blocks = [_adapter(i, host["ib_gbit"].get(i, 400)) for i in range(host["ib"])]
    return {"ibstat.txt": "\n".join(blocks)}


def _adapter(index: int, gbit: int) -> str:
    guid = f"0x946dae03008{index:05x}"
    return (
        f"CA 'mlx5_{index}'\n\tCA type: MT4129\n\tNumber of ports: 1\n\tFirmware version: 28.39.2048\n"
        f"\tHardware version: 0\n\tNode GUID: {guid}\n\tSystem image GUID: {guid}\n\tPort 1:\n\t\tState: Active\n"
        f"\t\tPhysical state: LinkUp\n\t\tRate: {gbit}\n\t\tBase lid: {12 + index}\n\t\tLMC: 0\n\t\tSM lid: 1\n"
        f"\t\tCapability mask: 0xa651e848\n\t\tPort GUID: {guid}\n\t\tLink layer: InfiniBand\n"
    )


def mpstat(machine: Machine) -> dict[str, str]:
    """``mpstat -P ALL 5 1``."""
    host = Host(machine)
    head = f"Linux 5.15.0-131-generic (node-17) \t03/11/2025 \t_x86_64_\t({host['cpus']} CPU)\n\n"
    columns = "CPU    %usr   %nice    %sys %iowait    %irq   %soft  %steal  %guest  %gnice   %idle"
    lines = [f"14:03:1{0}     {columns}"]

    def line(clock: str, name: object, m: dict[str, float]) -> str:
        cells = [m["user"], 0.0, m["system"], m["iowait"], 0.0, m["softirq"], m["steal"], 0.0, 0.0, m["idle"]]
        return f"{clock}     {name!s:>3}" + "".join(f"{100 * c:8.2f}" for c in cells)

    cpus = {c: host.of_cpu(c) for c in range(host["cpus"])}
    whole = {mode: sum(m[mode] for m in cpus.values()) / len(cpus) for mode in host.modes}
    lines += [line("14:03:15", "all", whole), *(line("14:03:15", c, m) for c, m in cpus.items()), ""]
    lines += [
        f"Average:     {columns}",
        line("Average:", "all", whole),
        *(line("Average:", c, m) for c, m in cpus.items()),
    ]
    return {"mpstat.txt": head + "\n".join(lines) + "\n"}
