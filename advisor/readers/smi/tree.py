"""The long query as text: lines of ``Key : Value`` below headings.

Chat programs strip the spaces at line starts, so the depth is not used: a key belongs to the
last heading, and Volatile and Aggregate hold until the other or another part of the tree comes.
"""

from __future__ import annotations

import re

from advisor.readers.smi.lines import Lines
from advisor.readers.smi.look import Look, Moment
from advisor.readers.smi.query import MACHINE, Cells, add, plain
from advisor.readers.smi.values import moment, number

FORM = "nvidia-smi -q"
STRAY = 60  # lines in a row that are not of the tree: it has ended
_GPU = re.compile(r"\s*GPU ([0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f])\s*$")
_CELL = re.compile(r"\s*(\S.{0,80}?)\s*(?<=\s):(?:\s+(.{0,400}))?$")
_HEADING = re.compile(r"\s*([A-Za-z][A-Za-z0-9 ._/()-]{1,60})$")
_END = re.compile(r"NVSMI LOG|^\s*\+-{20}|^#{20}|NVIDIA-SMI \d|^\s*#\s?gpu\b")
_TOTALS = ("volatile", "aggregate")
_KINDS = ("singlebit", "doublebit")
_COMPUTE = frozenset(("C", "M+C"))


def parse(text: str, at: int) -> Look:
    """The tree that begins at `at`."""
    first = at
    while first and text[first - 1] == "=":
        first -= 1
    tree = _Tree(first)
    lines = Lines(text, first)
    stray = 0
    for start, line in lines:
        if start > at and _END.search(line):
            break
        stray = 0 if tree.take(line) else stray + 1
        if stray > STRAY:
            break
        tree.look.end = start + len(line)
    tree.close()
    return tree.look


class _Tree:
    def __init__(self, at: int) -> None:
        self.look = Look(FORM, at, at, [Moment()], rank=3)
        self._gpu = ""
        self._cells: Cells = {}
        self._section = self._total = ""
        self._mig = 0
        self._inside_mig = False
        self._processes: list[str] | None = None

    def take(self, line: str) -> bool:
        """Read a line; False when it is none of the tree."""
        if match := _GPU.match(line):
            self.close()
            self._gpu = match[1]
            self.look.say(self._gpu, "bus", match[1])
            return True
        if match := _CELL.match(line):
            return self._cell(plain(match[1]), (match[2] or "").strip())
        if match := _HEADING.match(line):
            self._heading(plain(match[1]))
            return False
        return False

    def _heading(self, name: str) -> None:
        self._section = name
        if name in _TOTALS:
            self._total = name
        elif name not in _KINDS:
            self._total = ""
        if name == "migdevice":
            self._mig += 1
            self._inside_mig = True
        elif name in ("pci", "drivermodel"):
            self._inside_mig = False
        if name == "processes":
            self._processes = []

    def _cell(self, key: str, value: str) -> bool:
        if not self._gpu:
            return self._machine(key, value)
        if key in ("accountingmode", "serialnumber", "gpuuuid", "minornumber", "fanspeed"):
            self._inside_mig = False
        if key == "processes":
            self._processes = []
        if key == "type" and self._processes is not None:
            self._processes.append(value)
        if not self._inside_mig:
            section, name = self._section, key
            if self._total:
                section, name = self._total, f"{section}.{key}" if section in _KINDS else key
            self._cells.setdefault((section, name), value)
        return True

    def _machine(self, key: str, value: str) -> bool:
        for word, keys in MACHINE.items():
            if key in keys:
                self.look.say("", word, value)
                return True
        return False

    def close(self) -> None:
        """The GPU is complete, or the text ends."""
        now = self.look.moments[0]
        words = self.look.words.get("", {})
        if "time" in words:
            now.time = moment(words["time"])
        attached = number(words.get("attached", ""))
        self.look.attached = None if attached is None else int(attached)
        if self._gpu and self._cells:
            add(self.look, now, self._gpu, self._cells)
            if self._mig:
                now.put(self._gpu, "instances", float(self._mig))
            if self._processes is not None:
                now.put(self._gpu, "processes", float(sum(kind in _COMPUTE for kind in self._processes)))
        self._cells, self._section, self._total = {}, "", ""
        self._mig, self._inside_mig, self._processes = 0, False, None
