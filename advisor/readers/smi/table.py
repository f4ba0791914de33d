"""The table that nvidia-smi prints without options (and nvitop's, which is made like it).

It is found by its cells and not by its columns, so that lines may be cut, wrapped or stripped.
A line of the table that stands alone, as after ``grep MiB``, does not say of which GPU it is.
"""

from __future__ import annotations

import re

from advisor.readers.metrics.gpu_facts import BUSY
from advisor.readers.smi.lines import Lines
from advisor.readers.smi.look import Look, Moment
from advisor.readers.smi.values import broken, moment, number, switch, told

FORM = "nvidia-smi"
STRAY = 40  # other lines in a row: the table has ended
EMPTY = 0.02  # of the memory: what the driver itself holds
LONGEST = 4000  # lines; a machine of 16 GPUs with its processes has some hundreds
_BARS = str.maketrans("│║┃╪╫", "|||||")
_CELL = r"[^|\n]{0,80}?"
_S = r"\s{1,60}"
# GPU, name, persistence or driver model; bus, display; ECC errors.
_FIRST = re.compile(
    rf"\|\s{{0,9}}(\d{{1,3}}){_S}(\S{_CELL}){_S}(On|Off|N/A|WDDM|TCC|MCDM|Enabled|Disabled)\s{{0,60}}"
    rf"\|\s{{0,60}}([0-9A-Fa-f]{{4,8}}:[0-9A-Fa-f]{{2}}:[0-9A-Fa-f]{{2}}\.[0-9A-Fa-f])(?:{_S}(?:On|Off|N/A))?\s{{0,60}}"
    rf"\|\s{{0,60}}([^|\s]{{0,20}})"
)
# Fan, temperature, performance state, power and limit; memory; utilization, compute mode.
_SECOND = re.compile(
    rf"\|\s{{0,60}}(\S{{1,7}}){_S}(\d{{1,3}}C|N/A|ERR!){_S}(P\d{{1,2}}|N/A|ERR!|Unknown|\?){_S}"
    rf"(\S{{1,12}})\s{{0,9}}/\s{{0,9}}(\S{{1,12}})\s{{0,60}}\|\s{{0,60}}"
    rf"([^|\n]{{1,40}})\|\s{{0,60}}(\d{{1,3}}\s{{0,3}}%|N/A|ERR!)?\s{{0,60}}([A-Za-z][A-Za-z._ ]{{0,24}}?)?\s{{0,60}}\|"
)
_SIZE = r"(\d{1,9}(?:\.\d{1,3})?)\s{0,3}([KMG]i?B)"
_MEMORY = re.compile(rf"{_SIZE}\s{{0,9}}/\s{{0,9}}{_SIZE}")
_MIG = re.compile(r"\|\s{0,90}\|\s{0,90}\|\s{0,60}(Enabled|Disabled)\*?\s{0,60}\|")
_INSTANCE = re.compile(
    rf"\|\s{{0,9}}(\d{{1,3}}){_S}\d{{1,3}}{_S}\d{{1,3}}{_S}\d{{1,3}}\s{{0,9}}\|[^|\n]{{0,60}}/[^|\n]{{0,60}}\|"
)
_PROCESS = re.compile(
    rf"\|\s{{0,9}}(\d{{1,3}}){_S}(?:(?:N/A|\d{{1,3}}){_S}(?:N/A|\d{{1,3}}){_S})?\d{{1,10}}{_S}(C\+G|M\+C|C|G){_S}[^|\n]{{1,120}}\|"
)
_DRIVER = re.compile(r"(?:Driver|KMD) Version: {0,20}(\d[\d.]{0,15})")
_CUDA = re.compile(r"CUDA (?:UMD |Driver )?Version: {0,20}(\d{1,3}\.\d{1,3})")
_HEAD = re.compile(r"(?:NVIDIA-SMI|NVITOP) {1,4}\S+ {1,60}(?:Driver|KMD) Version")
_OWN = re.compile(r"\s*[|+]")
_OTHER = re.compile(r"NVSMI LOG|^\s*#\s?gpu|^\s*GPU0\s|--query-|\(UUID: GPU-|^#{5}")


def parse(text: str, at: int) -> Look:
    """The table whose head, or whose first line that is left of it, is at `at`."""
    first = _start(text, at)
    lines = Lines(text, first)
    block: list[str] = []
    look = Look(FORM, first, at, [Moment()], rank=1)
    stray = 0
    for start, drawn in lines:
        line = drawn.translate(_BARS)
        if start > at and (_HEAD.search(line) or _OTHER.search(line)):
            break
        stray = 0 if _OWN.match(line) else stray + 1
        if stray > STRAY or len(block) > LONGEST:
            break
        block.append(line)
        if not stray:
            look.end = start + len(line)
    _fill(look, "\n".join(block))
    look.moments[0].time = moment(text[max(0, lines.start - 200) : at])
    return look


def _start(text: str, at: int) -> int:
    """Where the line of `at` begins with its own bar or frame, after what anything put before it."""
    start = text.rfind("\n", 0, at) + 1
    bar = re.compile(r"[|│║+]").search(text, start, at)
    return bar.start() if bar else at


def _fill(look: Look, block: str) -> None:
    driver, cuda = _DRIVER.search(block), _CUDA.search(block)
    look.say("", "driver", driver[1] if driver else None)
    look.say("", "cuda", cuda[1] if cuda else None)
    firsts = list(_FIRST.finditer(block))
    for i, first in enumerate(firsts):
        end = firsts[i + 1].start() if i + 1 < len(firsts) else len(block)
        _gpu(look, first, block[first.end() : min(end, first.end() + 800)])
    if firsts:
        look.attached = len(firsts)
    elif not _HEAD.search(block):
        _alone(look, block)
    _lists(look, block)


def _gpu(look: Look, first: re.Match[str], rest: str) -> None:
    gpu, now = first[1], look.moments[0]
    look.say(gpu, "name", first[2])
    look.say(gpu, "bus", first[4])
    now.put(gpu, "persistence", switch(first[3]))
    now.put(gpu, "ecc", number(first[5]))
    now.state(gpu)
    if second := _SECOND.search(rest):
        _second(look, now, gpu, second)
    if mig := _MIG.search(rest):
        now.put(gpu, "mig", switch(mig[1]))


def _second(look: Look, now: Moment, gpu: str, match: re.Match[str]) -> None:
    now.put(gpu, "temperature", number(match[2]))
    now.put(gpu, "power", number(match[4], "W"))
    now.put(gpu, "limit", number(match[5], "W"))
    if memory := _MEMORY.search(match[6]):
        now.put(gpu, "used", number(memory[1], memory[2]))
        now.put(gpu, "total", number(memory[3], memory[4]))
    now.put(gpu, "util", number(match[7] or "", "%"))
    look.say(gpu, "mode", told(match[8] or ""))
    if broken(match[2]) or broken(match[7] or ""):
        look.broken.add(gpu)


def _alone(look: Look, block: str) -> None:
    """Second lines without their first ones: moments, as nobody knows of which GPU."""
    look.form = "lines of nvidia-smi"
    look.moments = []
    for match in _SECOND.finditer(block):
        now = Moment()
        _second(look, now, "", match)
        look.moments.append(now)
    look.moments = look.moments or [Moment()]


def _lists(look: Look, block: str) -> None:
    """The instances and processes that are listed below the table."""
    now = look.moments[-1]
    for match in _INSTANCE.finditer(block):
        now.state(match[1])["instances"] = now.state(match[1]).get("instances", 0.0) + 1
    processes = list(_PROCESS.finditer(block))
    for match in processes:
        count = now.state(match[1]).setdefault("processes", 0.0)
        now.state(match[1])["processes"] = count + (match[2] != "C+G" and match[2] != "G")
    if processes or "No running processes found" in block:
        for state in now.gpus.values():
            state.setdefault("processes", 0.0)
            _stale(state)


def _stale(state: dict[str, float]) -> None:
    """Forget a utilization that is left from a load that has ended: nobody holds memory any more."""
    empty = state["processes"] == 0 and state.get("used", 1.0) < EMPTY * state.get("total", 0.0)
    if empty and state.get("util", 0.0) > BUSY:
        del state["util"]
