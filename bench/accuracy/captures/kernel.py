"""The kernel log of a GPU node: a boot, days of ordinary lines, and the events that the description tells of."""

# ruff: noqa: E501 - lines of tools are as long as they are

from __future__ import annotations

from bench.accuracy.captures.machine import BUSES, Machine

_BOOT = """\
Linux version 5.15.0-131-generic (buildd@lcy02-amd64-057) (gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0) #141-Ubuntu SMP
Command line: BOOT_IMAGE=/vmlinuz-5.15.0-131-generic root=UUID=5d0c ro iommu=pt pci=realloc=off
x86/fpu: Supporting XSAVE feature 0x001: 'x87 floating point registers'
DMI: Supermicro SYS-821GE-TNHR/X13DEG-OAD, BIOS 2.1 12/06/2023
tsc: Detected 2100.000 MHz processor
smp: Brought up 2 nodes, 96 CPUs
PCI: Using configuration type 1 for base access
nvme nvme0: pci function 0000:01:00.0
nvme nvme0: 64/0/0 default/read/poll queues
EXT4-fs (sda2): mounted filesystem with ordered data mode. Opts: (null). Quota mode: none.
mlx5_core 0000:19:00.0: firmware version: 28.39.2048
mlx5_core 0000:19:00.0: 252.048 Gb/s available PCIe bandwidth (32.0 GT/s PCIe x16 link)
mlx5_core 0000:19:00.0 ens1np0: Link up
nvidia: loading out-of-tree module taints kernel.
nvidia-nvlink: Nvlink Core is being initialized, major device number 234
NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build
nvidia-uvm: Loaded the UVM driver, major device number 232.
XFS (nvme0n1): Mounting V5 Filesystem
XFS (nvme0n1): Ending clean mount
IPv6: ADDRCONF(NETDEV_CHANGE): ens1np0: link becomes ready
systemd[1]: systemd 249.11-0ubuntu3.12 running in system mode
audit: type=1400 audit(1740836021.1:2): apparmor="STATUS" operation="profile_load" profile="unconfined"
"""
_DAYS = """\
perf: interrupt took too long (2503 > 2500), lowering kernel.perf_event_max_sample_rate to 79750
docker0: port 1(veth31f9d2e) entered forwarding state
overlayfs: fs on '/var/lib/docker/overlay2/l/7QK' does not support file handles, falling back to xino=off.
nvidia-nvswitch: Probing device
TCP: request_sock_TCP: Possible SYN flooding on port 29500. Sending cookies.  Check SNMP counters.
"""
_OOM = """\
python invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0
CPU: 31 PID: 48213 Comm: python Tainted: P           OE     5.15.0-131-generic #141-Ubuntu
Call Trace:
 dump_stack_lvl+0x4a/0x63
 dump_header+0x4f/0x1f0
 oom_kill_process.cold+0xb/0x10
 out_of_memory+0x10c/0x2e0
{memory}
[  48213]  1000 48213 61820194 {pages} 489214976        0             0 python
oom-kill:constraint={constraint},nodemask=(null),cpuset=/,{scope}global_oom,task_memcg=/user.slice,task=python,pid=48213,uid=1000
{words}: Killed process 48213 (python) total-vm:247280776kB, anon-rss:{rss}kB, file-rss:91224kB, shmem-rss:4128kB, UID:1000 pgtables:477749kB oom_score_adj:0
oom_reaper: reaped process 48213 (python), now anon-rss:0kB, file-rss:90984kB, shmem-rss:4128kB
"""


def log(machine: Machine) -> dict[str, str]:
    """``dmesg``."""
    told = machine.section("kernel")
    lines = [(1.0 + 0.6 * i, text) for i, text in enumerate(_BOOT.splitlines())]
    lines += [(40_000.0 + 71_000 * i, text) for i, text in enumerate(_DAYS.splitlines())]
    for event in told.get("events", ()):
        lines += _event(event)
    return {"dmesg.txt": "".join(f"[{t:13.6f}] {text}\n" for t, text in sorted(lines, key=lambda line: line[0]))}


def _event(event: dict[str, object]) -> list[tuple[float, str]]:
    """The lines of one event, repeated as often as it happened."""
    count, every = int(str(event.get("count", 1))), float(str(event.get("every", 30.0)))
    out = []
    for i in range(count):
        at = 851_000.0 + i * every
        out += [(at + 0.0004 * n, text) for n, text in enumerate(_lines(event, i))]
    return out


def _lines(event: dict[str, object], i: int) -> list[str]:
    kind = str(event["kind"])
    bus = f"0000:{BUSES[int(str(event.get('gpu', 3)))].lower()}:00"
    if kind == "text":
        return [str(event["line"]).replace("{i}", str(i)).replace("{gpu}", bus)]
    if kind == "xid":
        return [f"NVRM: Xid (PCI:{bus}): {event['code']}, {event['words']}"]
    if kind == "lost":
        return [f"NVRM: Xid (PCI:{bus}): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
                f"NVRM: GPU {bus}.0: GPU has fallen off the bus.",
                f"NVRM: GPU {bus}.0: GPU serial number is 1653023{i:06d}."]  # fmt: skip
    if kind == "hung":
        return [f"INFO: task python:{48213 + i} blocked for more than 120 seconds.",
                "      Tainted: P           OE     5.15.0-131-generic #141-Ubuntu",
                '"echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.',
                "task:python          state:D stack:    0 pid:48213 ppid: 48001 flags:0x00004006"]  # fmt: skip
    if kind == "oom":
        group = bool(event.get("group"))
        limit = float(str(event.get("gib", 1000)))
        memory = (f"memory: usage {limit * 2**20:.0f}kB, limit {limit * 2**20:.0f}kB, failcnt 91823" if group
                  else "Node 0 Normal free:45056kB min:45056kB low:112640kB high:180224kB")  # fmt: skip
        words = "Memory cgroup out of memory" if group else "Out of memory"
        return _OOM.format(
            memory=memory, pages=round(limit * 0.9 * 2**18), constraint="CONSTRAINT_MEMCG" if group else "CONSTRAINT_NONE",
            scope="mems_allowed=0-1,", words=words, rss=round(limit * 0.9 * 2**20),
        ).splitlines()  # fmt: skip
    raise ValueError(f"no event of the kernel is called {kind}")
