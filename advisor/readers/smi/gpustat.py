"""The lines of gpustat: one per GPU, with who holds its memory."""

from __future__ import annotations

import re

from advisor.readers.smi.lines import Lines
from advisor.readers.smi.look import Look, Moment
from advisor.readers.smi.values import moment, number

FORM = "gpustat"
STRAY = 3
_FIRST = re.compile(r"\[\d{1,3}\] [^\[\n]{1,80}$")
_GPU = re.compile(
    r"\s*\[(\d{1,3})\] ([^|\n]{1,80}?)\s*\|\s*(\d{1,3})'C,[^|\n]{0,20}?(\d{1,3}) %(?:,\s*(\d{1,5}) / (\d{1,5}) W)?\s*"
    r"\|\s*(\d{1,9}) / (\d{1,9}) MB\s*\|(.{0,2000})"
)
_HOLDER = re.compile(r"[^\s()]{1,60}\((?:\d{1,9}M|\?M?)\)")
_DRIVER = re.compile(r"\d{3}\.\d{2,3}(?:\.\d{1,3})?\s*$")


def parse(text: str, at: int) -> Look:
    """The lines from the one that holds `at` on; ``gpustat -i`` prints them again and again."""
    look = Look(FORM, at, at + 1, [], rank=1)
    begin = text.rfind("\n", 0, at) + 1
    first = _FIRST.search(text, begin, at)
    if first is None:
        return look
    lines = Lines(text, first.start())
    head = text[max(0, lines.start - 200) : lines.start].rstrip("\n").rsplit("\n", 1)[-1]
    time = moment(head)
    if time is not None and (driver := _DRIVER.search(head)):
        look.say("", "driver", driver[0].strip())
    stray = 0
    for start, row in lines:
        match = _GPU.match(row)
        if match is None:
            time = moment(row) or time
            stray += 1
            if stray > STRAY:
                break
            continue
        stray = 0
        look.end = start + len(row)
        now = look.now
        if now is None or match[1] in now.gpus:
            now = look.begin(time)
        _gpu(look, now, match)
    look.attached = len(look.moments[-1].gpus) if look.moments else None
    return look


def _gpu(look: Look, now: Moment, match: re.Match[str]) -> None:
    gpu = match[1]
    look.say(gpu, "name", match[2])
    for key, cell, unit in (
        ("temperature", match[3], "C"), ("util", match[4], "%"), ("power", match[5], "W"),
        ("limit", match[6], "W"), ("used", match[7], "MiB"), ("total", match[8], "MiB"),
    ):  # fmt: skip
        now.put(gpu, key, number(cell or "", unit))
    now.put(gpu, "processes", float(len(_HOLDER.findall(match[9]))))
