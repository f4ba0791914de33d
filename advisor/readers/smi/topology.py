"""How GPUs are connected: ``topo -m``, ``topo -p2p``, ``nvlink --status``, and the list of ``-L``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from advisor.readers.rows import row
from advisor.readers.smi.lines import Lines
from advisor.readers.smi.look import Look, Moment

TOPO, P2P, LINKS = "nvidia-smi topo -m", "nvidia-smi topo -p2p", "nvidia-smi nvlink"
PATHS = ("PIX", "PXB", "PHB", "NODE", "SYS")
_OLD = {"SOC": "SYS", "PSB": "PIX"}  # names before driver 384
_PATH = re.compile(r"X|NV\d{1,3}|PIX|PXB|PHB|NODE|SYS|SOC|PSB")
_PEER = re.compile(r"X|OK|CNS|GNS|TNS|DR|NS|U")
_GPU = re.compile(r"GPU\d{1,3}$")
_NIC = re.compile(r"(?:NIC\d|mlx\d|hfi\d|bnxt|irdma|efa|rdma|roce)", re.IGNORECASE)
_LISTED = re.compile(r"\s*GPU (\d{1,3}): (.{1,80}?) \(UUID: (GPU-[0-9A-Za-z-]{1,60})\)")
_INSTANCE = re.compile(r"\s*MIG \S{1,40}\s+Device\s+\d+: \(UUID: MIG-")
_LINK = re.compile(r"\s*Link (\d{1,2}): (.{1,80})")
_SPEED = re.compile(r"\d+(?:\.\d+)? GB/s")
_ERRORS = re.compile(r"(?:Replay|Recovery) Errors?: (\d{1,15})")
STRAY = 12


def distance(path: str) -> tuple[int, int]:
    """For ordering from near to far; among NVLinks fewer are farther.

    >>> max(["NV12", "SYS", "PIX"], key=distance), max(["NV12", "NV4"], key=distance)
    ('SYS', 'NV4')
    """
    return (0, -int(path[2:])) if path.startswith("NV") else (1 + PATHS.index(path), 0)


def matrix(text: str, at: int) -> Look:
    """The matrix whose heading begins at `at`."""
    look = Look(TOPO, at, at + 4, rank=0)
    lines = iter(Lines(text, at))
    heading = next(lines, (at, ""))[1].replace("CPU Affinity", "\t").split()
    found: dict[str, list[str]] = {}
    stray = 0
    for start, line in lines:
        name, *cells = line.split() or [""]
        if cells and (_GPU.match(name) or _NIC.match(name)):
            found[name] = cells
            look.end = start + len(line)
        elif line.strip():
            stray += 1
            if stray > STRAY or line.startswith("####"):
                break
    names = [name for name in heading if _GPU.match(name) or _NIC.match(name)]
    gpus = [name for name in names if _GPU.match(name)]
    if gpus != [name for name in found if _GPU.match(name)]:
        return look  # lines that were cut or wrapped: which column is which is not certain
    if gpus and all(_PEER.fullmatch(cell) for gpu in gpus for cell in found[gpu][: len(gpus)]) and len(gpus) > 1:
        look.form = P2P
        _peers(look, names, gpus, found)
    elif gpus:
        _paths(look, names, gpus, found)
    return look


def _paths(look: Look, names: Sequence[str], gpus: Sequence[str], found: Mapping[str, Sequence[str]]) -> None:
    ways: dict[tuple[str, str], str] = {}
    for gpu in gpus:
        cells = found[gpu][: len(names)]
        if len(cells) < len(names) or not all(_PATH.fullmatch(cell) for cell in cells):
            return
        ways |= {(gpu, other): _OLD.get(cell, cell) for other, cell in zip(names, cells, strict=True) if cell != "X"}
    look.attached = len(gpus)
    pairs = {pair: way for pair, way in ways.items() if pair[1] in gpus}
    if pairs:
        worst = max(pairs, key=lambda pair: distance(pairs[pair]))
        both = ", ".join(sorted(map(_called, worst), key=len))
        look.rows.append(row("hw.gpu.topology.worst_path", pairs[worst], "{string}", both))
    nics = [name for name in names if _NIC.match(name)]
    if nics:
        nearest = {gpu: min((ways[gpu, nic] for nic in nics), key=distance) for gpu in gpus}
        worst_gpu = max(gpus, key=lambda gpu: distance(nearest[gpu]))
        look.rows.append(row("hw.gpu.nic.worst_path", nearest[worst_gpu], "{string}", _called(worst_gpu)))


def _peers(look: Look, names: Sequence[str], gpus: Sequence[str], found: Mapping[str, Sequence[str]]) -> None:
    pairs = {(gpu, other): cell for gpu in gpus for other, cell in zip(names, found[gpu], strict=False)}
    answers = {pair: cell for pair, cell in pairs.items() if cell not in ("X", "U")}
    if answers:
        denied = next((pair for pair, cell in answers.items() if cell != "OK"), None)
        where = ", ".join(map(_called, denied)) if denied else None
        look.rows.append(row("hw.gpu.p2p.supported", denied is None, "{bool}", where))


def _called(gpu: str) -> str:
    return gpu.replace("GPU", "gpu ")


def listing(text: str, at: int) -> Look:
    """GPUs by name, as ``-L`` lists them, with their NVLinks where ``nvlink`` printed them."""
    look = Look("nvidia-smi -L", at, at + 4, [Moment()], rank=0)
    now = look.moments[0]
    gpu = ""
    links: dict[str, list[bool]] = {}
    instances: dict[str, int] = {}
    stray = 0
    for start, line in Lines(text, at):
        stray += 1
        if match := _LISTED.match(line):
            gpu, stray = match[1], 0
            look.say(gpu, "name", match[2])
            look.say(gpu, "uuid", match[3])
        elif _INSTANCE.match(line) and gpu:
            instances[gpu] = instances.get(gpu, 0) + 1
            stray = 0
        elif (link := _LINK.match(line)) and gpu:
            stray = 0
            look.form = LINKS
            if "inactive" in link[2].lower() or _SPEED.match(link[2]):
                links.setdefault(gpu, []).append("inactive" not in link[2].lower())
            elif errors := _ERRORS.match(link[2]):
                now.state(gpu)["link_errors"] = now.state(gpu).get("link_errors", 0.0) + float(errors[1])
        elif line.startswith("####") or stray > STRAY:
            break
        if not stray:
            look.end = start + len(line)
    if look.form != LINKS:
        look.attached = len(look.words)
    for name, states in links.items():
        now.put(name, "inactive", float(states.count(False)))
    for name, count in instances.items():
        now.put(name, "instances", float(count))
    return look
