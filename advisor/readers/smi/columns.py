"""Scrolling tables: ``nvidia-smi dmon`` (per GPU) and ``nvidia-smi pmon`` (per process).

Columns depend on ``-s`` and on the driver, so they are read by the names in the heading, which
comes again every few rows. With ``-o DT`` date and time stand first; ``--format csv`` adds commas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from advisor.readers.smi.lines import Lines
from advisor.readers.smi.look import Look, Moment
from advisor.readers.smi.values import moment, number

DMON, PMON = "nvidia-smi dmon", "nvidia-smi pmon"
STRAY = 40
# Column -> key of the state and unit; FB memory is in MiB whatever the heading says.
_KEYS: Mapping[str, tuple[str, str]] = {
    "pwr": ("power", "W"),
    "gtemp": ("temperature", "C"),
    "temp": ("temperature", "C"),
    "sm": ("util", "%"),
    "enc": ("encoder", "%"),
    "dec": ("decoder", "%"),
    "pclk": ("sm", "MHz"),
    "fb": ("used", "MB"),
    "rxpci": ("rx", "MB/s"),
    "txpci": ("tx", "MB/s"),
    "pviol": ("throttle.power_cap", "%"),
    "tviol": ("throttle.thermal", ""),
    "smact": ("sm_active", "%"),
    "smocc": ("occupancy", "%"),
    "tensor": ("tensor", "%"),
    "dram": ("dram", "%"),
    "fp64": ("fp64", "%"),
}
_UNITS = re.compile(r"\s*#\s*(?:Idx|YYYYMMDD|HH:MM:SS)")
_HEAD = re.compile(r"\s*#\s?(?:Date\b|Time\b|gpu\b)")
_CELL = re.compile(r"[\s,]+")
_ROW = re.compile(r"\s*(?:\d{4}[-/]?\d\d[-/]?\d\d[\s,]+)?(?:\d\d:\d\d:\d\d[\s,]+)?\d{1,3}[\s,]")
_COMPUTE = frozenset(("C", "M+C"))


def parse(text: str, at: int) -> Look:
    """The rows below the heading at `at`."""
    look = Look(DMON, at, at, rank=4)
    columns: list[str] = []
    stray = 0
    for start, line in Lines(text, at):
        if _UNITS.match(line):
            continue
        if _HEAD.match(line):
            found = [name.lower() for name in _CELL.split(line.strip(" \t#,"))]
            if columns and found != columns:
                break  # another command's table, or the same one with other columns: a look of its own
            columns = found
            stray = 0
        elif _ROW.match(line) and columns:
            _row(look, columns, _CELL.split(line.strip(" \t,")))
            look.end = start + len(line)
            stray = 0
        elif line.strip():
            stray += 1
            if stray > STRAY or (columns and line.startswith("#")):
                break
    if "pid" in columns:
        look.form, look.rank = PMON, 0
        _most(look)
    return look


def _row(look: Look, columns: list[str], cells: list[str]) -> None:
    named = dict(zip(columns, cells, strict=False))
    gpu = named.get("gpu", "")
    if not gpu.isdigit() or (len(cells) != len(columns) and "pid" not in columns):
        return
    time = moment(f"{named.get('date', '19700101')} {named.get('time', '')}") if "time" in named else None
    pids = "pid" in columns
    last = look.now
    # A GPU that comes again begins a new moment; in pmon it has a row per process.
    if last is None or (time is not None and last.time != time) or (gpu in last.gpus and not pids):
        last = look.begin(time)
    if pids:
        _process(last, gpu, named)
        return
    last.state(gpu)
    for column in columns:
        if column in _KEYS:
            key, unit = _KEYS[column]
            last.put(gpu, key, number(named[column], unit))


def _process(now: Moment, gpu: str, named: Mapping[str, str]) -> None:
    """Every process of a GPU once; the listing comes again and again."""
    pid = named.get("pid", "-")
    state = now.state(gpu)
    if pid.isdigit() and named.get("type") in _COMPUTE:
        state[f"pid {pid}"] = 1.0


def _most(look: Look) -> None:
    for _, state in look.states():
        pids = [key for key in state if key.startswith("pid ")]
        for pid in pids:
            del state[pid]
        state["processes"] = float(len(pids))
