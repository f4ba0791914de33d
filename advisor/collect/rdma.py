"""InfiniBand and RoCE ports, from /sys/class/infiniband: state, rate, errors, congestion.

Reading a counter may ask the card's firmware, so the ports are read only now and then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from advisor.collect.base import Facts, Parsed, Sample, rate, read_optional, times

COUNTERS = ("port_xmit_data", "port_xmit_wait", "symbol_error", "link_downed")
HARDWARE = ("rp_cnp_handled", "out_of_sequence", "local_ack_timeout_err")
STATE = ("state", "rate", "link_layer")
LANES = 4  # port_xmit_data counts 32-bit words


class Rdma:
    """All ports of all RDMA adapters."""

    kind = "network"
    origin = "/sys/class/infiniband"
    pause_s = 5.0

    def __init__(self, sys: str = "/sys") -> None:
        self._folder = Path(sys) / "class/infiniband"

    def read(self) -> Sample:
        """Per port ("mlx5_0/1") its state files and counters as text."""
        ports = sorted(self._folder.glob("*/ports/*")) if self._folder.is_dir() else []
        if not ports:
            raise FileNotFoundError("no InfiniBand or RoCE adapter is visible here")
        return {"ports": {f"{port.parts[-3]}/{port.name}": _port(port) for port in ports}}

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Errors and waits of the worst port; congestion and traffic summed over the ports."""
        facts = Facts(self.origin)
        ports = samples[-1]["ports"]
        down = [name for name, port in ports.items() if "ACTIVE" not in port.get("state", "")]
        facts.add("hw.network.rdma.port.active", not down, "{bool}", down[0] if down else None)
        _slow(facts, {name: port for name, port in ports.items() if name not in down})
        for counter, fact, unit in (
            ("symbol_error", "hw.network.rdma.symbol_errors", "{error}"),
            ("link_downed", "hw.network.rdma.link_downed", "{event}"),
        ):
            values = {name: int(port[counter]) for name, port in ports.items() if counter in port}
            _worst(facts, fact, values, unit)
        _worst(facts, "hw.network.rdma.xmit_wait.rate", _rates(samples, "port_xmit_wait", ports), "{tick}/s")
        sent = _rates(samples, "port_xmit_data", ports)
        facts.add("hw.network.rdma.tx.rate", sum(sent.values()) * LANES if sent else None, "By/s")
        _roce(facts, samples)
        return facts.all(), {}


def _port(folder: Path) -> dict[str, str]:
    files = [(name, folder / name) for name in STATE]
    files += [(name, folder / "counters" / name) for name in COUNTERS]
    files += [(name, folder / "hw_counters" / name) for name in HARDWARE]
    files.append(("board", folder.parent.parent / "board_id"))
    return {name: text.strip() for name, path in files if (text := read_optional(path))}


def _worst(facts: Facts, fact: str, values: Mapping[str, float], unit: str) -> None:
    if values:
        name = max(values, key=lambda n: values[n])
        facts.add(fact, values[name], unit, name if values[name] else None)


def _slow(facts: Facts, ports: Mapping[str, Mapping[str, str]]) -> None:
    """Rate of the slowest active port over the best that an adapter of the same board reached.

    The kernel does not tell what an adapter could do; a sister that trained at full rate does.
    """
    rates: dict[str, dict[str, float]] = {}
    for name, port in ports.items():
        if port.get("board") and port.get("rate"):
            rates.setdefault(f"{port['board']} {port.get('link_layer')}", {})[name] = float(port["rate"].split()[0])
    shares = {n: r / max(board.values()) for board in rates.values() if len(board) > 1 for n, r in board.items()}
    if shares:
        slowest = min(shares, key=lambda n: shares[n])
        facts.add("hw.network.rdma.port.rate.ratio", shares[slowest], "1", slowest if shares[slowest] < 1 else None)


def _rates(samples: Sequence[Sample], counter: str, names: Mapping[str, object]) -> dict[str, float]:
    found = {}
    for name in names:
        values = [int(s["ports"][name][counter]) for s in samples if counter in s["ports"].get(name, {})]
        if len(values) == len(samples) and (grown := rate(times(samples), values)) is not None:
            found[name] = grown
    return found


def _roce(facts: Facts, samples: Sequence[Sample]) -> None:
    ports = {n: p for n, p in samples[-1]["ports"].items() if p.get("link_layer") == "Ethernet"}
    for counter, fact in (("rp_cnp_handled", "cnp_handled"), ("out_of_sequence", "out_of_sequence")):
        grown = _rates(samples, counter, ports)
        facts.add(f"hw.network.roce.{fact}.rate", sum(grown.values()) if grown else None, "{packet}/s")
    timeouts = {n: int(p["local_ack_timeout_err"]) for n, p in ports.items() if "local_ack_timeout_err" in p}
    _worst(facts, "hw.network.roce.ack_timeouts", timeouts, "{error}")
