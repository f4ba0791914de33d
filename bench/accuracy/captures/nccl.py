"""Debug logs of NCCL and tables of nccl-tests for jobs of one or several nodes of eight GPUs."""

# ruff: noqa: E501 - lines of tools are as long as they are

from __future__ import annotations

from bench.accuracy.captures.machine import BUSES, Machine

DEFAULTS = {"nodes": 2, "net": "IB", "gdr": True, "devices": None, "p2p": "P2P/CUMEM", "channels": 16, "env": {},
            "version": "2.21.5+cuda12.4", "ranks": 8, "warnings": ()}  # fmt: skip


def log(machine: Machine) -> dict[str, str]:
    """What ``NCCL_DEBUG=INFO`` prints while communicators are made."""
    told = DEFAULTS | machine.section("nccl")
    world = told["nodes"] * told["ranks"]
    lines = [f"node-17:41210:41210 [0] NCCL INFO Bootstrap : Using {told.get('bootstrap', 'eth0')}:10.4.1.17<0>",
             f"NCCL version {told['version']}"]  # fmt: skip
    for rank in range(world):
        lines += _rank(told, rank, world)
    lines += [f"node-{17 + told['nodes'] - 1}:41217:41298 [7] NCCL WARN {text}" for text in told["warnings"]]
    return {"nccl.log": "\n".join(lines) + "\n"}


def _rank(told: dict[str, object], rank: int, world: int) -> list[str]:
    per = int(str(told["ranks"]))
    local, node = rank % per, rank // per
    head = f"node-{17 + node}:{41210 + local}:{41290 + local} [{local}] NCCL INFO "
    env = told["env"] if isinstance(told["env"], dict) else {}
    said = [f"{name} set by environment to {value}." for name, value in env.items()]
    said += [*_network(told), "DMA-BUF is available on GPU device " + str(local)]
    said.append(
        f"comm 0x55d0{rank:08x} rank {rank} nranks {world} cudaDev {local} nvmlDev {local} busId "
        f"{BUSES[local].lower()}000 commId 0x5f0a3c8d9e1b2a47 - Init START"
    )
    said.append(f"Setting affinity for GPU {local} to ffff,ffffffff")
    said.append(f"NVLS multicast support is {'' if told.get('nvls', True) else 'not '}available on dev {local}")
    said.append(
        f"comm 0x55d0{rank:08x} rank {rank} nRanks {world} nNodes {told['nodes']} localRanks {per} localRank {local} "
        "MNNVL 0"
    )
    channels = int(str(told["channels"]))
    said += [f"Channel {c:02d}/{channels:02d} : " + " ".join(f"{r:3d}" for r in range(world)) for c in
             range(channels if rank == 0 else 0)]  # fmt: skip
    said += [_hop(told, rank, world, channel) for channel in range(channels)]
    said.append("Connected all rings")
    said.append(f"{channels} coll channels, {channels} collnet channels, 0 nvls channels, 16 p2p channels")
    said.append(
        f"ncclCommInitRank comm 0x55d0{rank:08x} rank {rank} nranks {world} cudaDev {local} nvmlDev {local} busId "
        f"{BUSES[local].lower()}000 commId 0x5f0a3c8d9e1b2a47 - Init COMPLETE"
    )
    said.append(
        f"Init timings: rank {rank} nranks {world} total {told.get('init', 1.92):.2f} (kernels 0.21, bootstrap 0.30, "
        "allgathers 0.04, topo 0.61, graphs 0.12, connections 0.58, rest 0.06)"
    )
    return [head + text for text in said]


def _network(told: dict[str, object]) -> list[str]:
    """How the network is found; sockets where verbs are turned off or there are none."""
    names = told.get("devices") or (
        [f"mlx5_{i}:1/IB" for i in range(8)] if told["net"] == "IB" else ["eth0:10.4.1.17<0>"]
    )
    shown = " ".join(f"[{i}]{name}" for i, name in enumerate(names if isinstance(names, list) else []))
    if told["net"] == "IB":
        return [f"NET/IB : Using {shown} [RO]; OOB {told.get('bootstrap', 'eth0')}:10.4.1.17<0>", "Using network IB"]
    found = [] if told.get("ib_found") is None else [f"NET/IB : {told['ib_found']}"]
    return [*found, f"NET/Socket : Using {shown}", "Using network Socket"]


def _hop(told: dict[str, object], rank: int, world: int, channel: int) -> str:
    """One edge of the ring: to the next rank, inside the node or over the network."""
    per = int(str(told["ranks"]))
    following = (rank + 1) % world
    a, b = f"{rank}[{rank % per}]", f"{following}[{following % per}]"
    if following // per != rank // per:
        direct = "/GDRDMA" if told["gdr"] and told["net"] == "IB" else ""
        return f"Channel {channel:02d}/0 : {a} -> {b} [send] via NET/{told['net']}/{channel % 8}{direct}"
    if told["p2p"] == "SHM":
        return f"Channel {channel:02d} : {a} -> {b} via SHM/direct/direct"
    return f"Channel {channel:02d}/0 : {a} -> {b} via {told['p2p']}/read"


def table(machine: Machine) -> dict[str, str]:
    """``all_reduce_perf -b 8M -e 8G -f 2 -g 1`` over all ranks: time is latency and bytes over the slowest link."""
    told = DEFAULTS | machine.section("nccl")
    tests = [told["nodes"]] if not told.get("sweep") else list(told["sweep"])
    return {f"all_reduce_{n}n.txt": _table(machine, told, int(n)) for n in tests}


def sweep(machine: Machine) -> dict[str, str]:
    """The same for several numbers of nodes, one after the other into one log."""
    return {"sweep.log": "\n".join(table(machine).values())}


def _table(machine: Machine, told: dict[str, object], nodes: int) -> str:
    per = int(str(told["ranks"]))
    world = nodes * per
    bus = float(str((told.get("busbw_of") or {}).get(nodes, told.get("busbw", 360.0))))  # type: ignore[attr-defined]
    latency = float(str(told.get("latency_us", 28.0))) * (1 + 0.25 * nodes)
    name = machine.model.name
    lines = ["# nThread 1 nGpus 1 minBytes 8388608 maxBytes 8589934592 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1 validation: 1 graph: 0",
             "#", "# Using devices"]  # fmt: skip
    lines += [f"#  Rank {r:2d} Group  0 Pid  {91200 + r} on    node-{17 + r // per} device  {r % per} [0x{BUSES[r % per].lower()}] {name}"
              for r in range(world)]  # fmt: skip
    lines += ["#", "#                                                              out-of-place                       in-place",
              "#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong",
              "#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)"]  # fmt: skip
    factor, all_bus = 2 * (world - 1) / world, []
    rng = machine.noise(f"nccl-tests {nodes}")
    for power in range(23, 34):
        size = 1 << power
        cells = []
        for _ in range(2):
            time = latency + size * factor / bus / 1e3 * rng.uniform(0.99, 1.03)
            cells.append((time, size / time / 1e3, size / time / 1e3 * factor))
        all_bus += [c[2] for c in cells]
        told_cells = "".join(f"{t:9.1f}{a:8.2f}{b:8.2f}      0" for t, a, b in cells)
        lines.append(f"{size:12d}{size // 4:14d}     float     sum      -1{told_cells}")
    lines += ["# Out of bounds values : 0 OK", f"# Avg bus bandwidth    : {sum(all_bus) / len(all_bus):.4f} ", "#"]
    return "# nccl-tests version 2.13.11: all_reduce_perf\n" + "\n".join(lines) + "\n"
