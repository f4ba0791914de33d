"""Chosen fields as CSV: ``nvidia-smi --query-gpu=... --format=csv``, also in a loop, and the lists of processes.

Names and units come from the first line, or from the command where it is shown. Rows with neither
say nothing for certain and are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from advisor.readers.smi.lines import Lines
from advisor.readers.smi.look import Look, Moment
from advisor.readers.smi.values import lost, moment, number, switch, told

FORM, APPS = "nvidia-smi --query-gpu", "nvidia-smi --query-compute-apps"
STRAY = 30
LONGEST = 16384  # characters of a row: all fields of a new driver take some 3,000
Name = tuple[str, str]  # field, and its unit where the first line tells it
# Field without its old or new word for the same -> key of the state, unit.
_NUMBERS: Mapping[str, tuple[str, str]] = {
    "utilization.gpu": ("util", "%"),
    "utilization.encoder": ("encoder", "%"),
    "utilization.decoder": ("decoder", "%"),
    "memory.used": ("used", "MiB"),
    "memory.total": ("total", "MiB"),
    "temperature.gpu": ("temperature", "C"),
    "temperature.gpu.tlimit": ("margin", "C"),
    "power.draw": ("power", "W"),
    "power.draw.average": ("power", "W"),
    "power.draw.instant": ("power", "W"),
    "enforced.power.limit": ("limit", "W"),
    "power.limit": ("limit", "W"),
    "power.default_limit": ("default", "W"),
    "clocks.sm": ("sm", "MHz"),
    "clocks.max.sm": ("sm_max", "MHz"),
    "pcie.link.gen.gpucurrent": ("gen", ""),
    "pcie.link.gen": ("gen", ""),
    "pcie.link.gen.max": ("gen_max", ""),
    "pcie.link.width": ("width", ""),
    "pcie.link.width.max": ("width_max", ""),
    "pcie.replay_counter": ("replays", ""),
    "ecc.errors.uncorrected.volatile.total": ("ecc", ""),
    "ecc.errors.uncorrected.aggregate.sram": ("sram", ""),
    "remapped_rows.uncorrectable": ("remapped", ""),
    "retired_pages.sbe": ("retired_one", ""),
    "retired_pages.single_bit_ecc.count": ("retired_one", ""),
    "retired_pages.dbe": ("retired_two", ""),
    "retired_pages.double_bit.count": ("retired_two", ""),
}
_SWITCHES: Mapping[str, str] = {
    "persistence_mode": "persistence",
    "mig.mode": "mig",
    "remapped_rows.pending": "remap_pending",
    "remapped_rows.failure": "remap_failed",
    "retired_pages.pending": "retired_pending",
    "reasons.sw_power_cap": "throttle.power_cap",
    "reasons.hw_slowdown": "throttle.hw_slowdown",
    "reasons.sw_thermal_slowdown": "throttle.sw_thermal",
    "reasons.hw_thermal_slowdown": "throttle.hw_thermal",
    "reasons.hw_power_brake_slowdown": "throttle.power_brake",
    "reasons.applications_clocks_setting": "throttle.app_clocks",
    "reasons.sync_boost": "throttle.sync_boost",
}
_WORDS: Mapping[str, tuple[bool, str]] = {  # whether it is the machine's, and the word
    "name": (False, "name"),
    "gpu_name": (False, "name"),
    "uuid": (False, "uuid"),
    "gpu_uuid": (False, "uuid"),
    "pci.bus_id": (False, "bus"),
    "gpu_bus_id": (False, "bus"),
    "compute_mode": (False, "mode"),
    "compute_cap": (False, "capability"),
    "fabric.state": (False, "fabric"),
    "driver_version": (True, "driver"),
    "cuda_version": (True, "cuda"),
}
# nvmlClocksEventReasons
_BITS = {
    "power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sw_thermal": 0x20,
    "hw_thermal": 0x40,
    "power_brake": 0x80,
    "app_clocks": 0x2,
    "sync_boost": 0x10,
    "display_clocks": 0x100,
}
_LISTED = frozenset(("pid", "process_name", "used_memory", "used_gpu_memory"))
_OTHER = frozenset(("index", "count", "timestamp", "serial", "pstate", "fan.speed", "reasons.active"))
_KNOWN = frozenset((*_NUMBERS, *_SWITCHES, *_WORDS, *_OTHER, *_LISTED))
_MASK = re.compile(r"0x[0-9A-Fa-f]{1,16}")
_UNIT = re.compile(r"\s*\[([^\]]{1,8})\]\s*$")
_FIELD = re.compile(r"[a-z]\w{0,60}(?:\.\w{1,60}){0,6}$")
_COMMAND = re.compile(r"--query-(gpu|compute-apps)[= ]\"?([\w.,]{3,6000})")
_FORMAT = re.compile(r"--format[= ]\"?([a-z,]+)")


def field_name(name: str) -> str:
    """One name for a field that drivers and people call differently.

    >>> field_name("clocks_throttle_reasons.sw_power_cap"), field_name("clocks.current.sm")
    ('reasons.sw_power_cap', 'clocks.sm')
    """
    name = re.sub(r"^clocks_(?:throttle|event)_reasons\.", "reasons.", name.strip())
    name = re.sub(r"^clocks\.current\.", "clocks.", name)
    if name in ("pcie.link.gen.current", "pcie.link.width.current", "mig.mode.current"):
        return name.removesuffix(".current")
    return {"gpu_utilization": "utilization.gpu", "gpu_serial": "serial"}.get(name, name)


def parse(text: str, at: int) -> Look:
    """The rows below the field names, or below the command, at `at`."""
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    look = Look(FORM, at, end, rank=2)
    if end - (text.rfind("\n", 0, at) + 1) > LONGEST:
        return look
    names, rows = _heading(text, at, end)
    table = _Table(look, names)
    if not table.telling:
        return look
    stray = 0
    for position, line in rows:
        if table.take(line):
            look.end = position + len(line)
            stray = 0
        elif line.strip():
            stray += 1
            if stray > min(STRAY, 3 * len(names)) or line.startswith("####"):
                break
    if table.listed:
        _count(look)
    return look


def _heading(text: str, at: int, end: int) -> tuple[list[Name], Iterator[tuple[int, str]]]:
    """The fields with their units, and the lines that follow; no fields where they come in a later line."""
    shown = _COMMAND.match(text, at)
    if shown is None:
        lines = Lines(text, _margin(text, text.rfind("\n", 0, at) + 1, at))
        rows = lines.since(lines.start)
        return _names(next(rows, (at, ""))[1]), rows
    options = _FORMAT.search(text, at, end)
    if options is None or "noheader" not in options[1].split(","):
        return [], iter(())
    names = [(field_name(name), "") for name in shown[2].split(",")]
    return names, Lines(text, end + 1).since(end + 1)


def _margin(text: str, start: int, at: int) -> int:
    """Where the field names begin: after a prefix of another writer, which has no comma."""
    begin = at
    while begin > start and (text[begin - 1].isalnum() or text[begin - 1] in "._, []%/"):
        begin -= 1
    while begin < at and text[begin] in " \t":
        begin += 1
    return begin


def _telling(fields: Sequence[str]) -> bool:
    """Whether there is something of use, and enough that is known; a new driver has some 60 fields that are not."""
    known = sum(field in _KNOWN for field in fields)
    return any(field in _NUMBERS or field in _SWITCHES for field in fields) and known * 8 >= len(fields)


def _names(line: str) -> list[Name]:
    """Fields with their units, from the first line; none when it is no such line."""
    found = []
    for part in line[:LONGEST].split(","):
        unit = _UNIT.search(part)
        name = part[: unit.start()] if unit else part
        if not _FIELD.match(name.strip()):
            return []
        found.append((field_name(name), unit[1] if unit else ""))
    return found


class _Table:
    """Which column holds what, and the rows as they are read."""

    def __init__(self, look: Look, names: Sequence[Name]) -> None:
        self._look, self._width = look, len(names)
        fields = [name for name, _ in names]
        self._names = fields
        places = {name: i for i, name in reversed(list(enumerate(fields)))}
        self.listed = "pid" in places
        self.telling = self.listed or _telling(fields)
        look.form, look.rank = (APPS, 0) if self.listed else (FORM, 2)
        keys = ("index", "pci.bus_id", "gpu_bus_id", "uuid", "gpu_uuid")
        self._gpu = next((places[key] for key in keys if key in places), None)
        self._time, self._pid, self._bits = (places.get(key) for key in ("timestamp", "pid", "reasons.active"))
        self._count = places.get("count")
        self._numbers = [
            (i, _NUMBERS[name][0], unit or _NUMBERS[name][1])
            for i, (name, unit) in enumerate(names)
            if name in _NUMBERS
        ]
        self._switches = [(i, _SWITCHES[name]) for i, name in enumerate(fields) if name in _SWITCHES]
        self._words = [(i, *_WORDS[name]) for i, name in enumerate(fields) if name in _WORDS]

    def take(self, line: str) -> bool:
        """Read a line; False when it is no row of these fields."""
        cells = [cell.strip() for cell in line[:LONGEST].split(",")]
        if len(cells) != self._width or cells == self._names or not self._fits(cells):
            return False
        gpu = cells[self._gpu] if self._gpu is not None else ""
        now = self._look.now
        if now is None or (gpu in now.gpus and not self.listed):
            now = self._look.begin(moment(cells[self._time]) if self._time is not None else None)
        state = now.state(gpu)
        if self._pid is not None:
            state[f"pid {cells[self._pid]}"] = 1.0
            return True
        for place, key, unit in self._numbers:
            now.put(gpu, key, number(cells[place], unit))
        self._rest(now, gpu, cells)
        if lost(line):
            self._look.broken.add(gpu)
        _sums(state)
        return True

    def _fits(self, cells: Sequence[str]) -> bool:
        """Whether a number, or that there is none, stands wherever one is due."""
        due = (cells[place] for place, _, _ in self._numbers)
        return all(cell[:1].isdigit() or cell[:1] in "-[" or told(cell) is None for cell in due)

    def _rest(self, now: Moment, gpu: str, cells: Sequence[str]) -> None:
        for place, key in self._switches:
            now.put(gpu, key, switch(cells[place]))
        for place, whole, word in self._words:
            self._look.say("" if whole else gpu, word, told(cells[place]))
        if self._count is not None and cells[self._count].isdigit():
            self._look.attached = int(cells[self._count][:4])
        if self._bits is not None and _MASK.fullmatch(cells[self._bits]):
            mask = int(cells[self._bits], 16)
            for reason, bit in _BITS.items():
                now.put(gpu, f"throttle.{reason}", float(bool(mask & bit)))


def _sums(state: dict[str, float]) -> None:
    retired = [state.pop(key) for key in ("retired_one", "retired_two") if key in state]
    if retired:
        state["retired"] = sum(retired)
    if "throttle.sw_thermal" in state or "throttle.hw_thermal" in state:
        state["throttle.thermal"] = max(state.get(key, 0.0) for key in ("throttle.sw_thermal", "throttle.hw_thermal"))


def _count(look: Look) -> None:
    for _, state in look.states():
        pids = [key for key in state if key.startswith("pid ")]
        for pid in pids:
            del state[pid]
        state["processes"] = float(len(pids))
