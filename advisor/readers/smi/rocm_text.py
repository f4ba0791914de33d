"""What rocm-smi prints for people: one line per value and card, and the concise table."""

from __future__ import annotations

import re

from advisor.readers.smi import rocm
from advisor.readers.smi.lines import Lines
from advisor.readers.smi.look import Look, Moment
from advisor.readers.smi.values import number

FORM = "rocm-smi"
STRAY = 30
_VALUE = re.compile(r"\s*GPU\[(\d{1,3})\]\s*:\s*(\S[^:\n]{0,80}?)\s*:\s*(.{1,200}?)\s*$")
# Card, temperature, power; the core clock; power cap, use. Partitions and ids of newer releases lie between.
_ROW = re.compile(
    r"\s*(\d{1,3})\s[^\n]{0,60}?(\d{1,3}(?:\.\d)?)\s?(?:°C|c|C)\s+(\d{1,4}(?:\.\d{1,3})?W|N/A)\s[^\n]{0,60}?"
    r"(\d{1,5}Mhz|None|N/A)\s+(?:\d{1,5}Mhz|None|N/A)\s[^\n]{0,40}?(\d{1,4}(?:\.\d)?W|N/A|Unsupported)\s+"
    r"(?:\d{1,3}%|N/A)\s+(\d{1,3}%|N/A)\s*$"
)


def parse(text: str, at: int) -> Look:
    """The lines from the one at `at` on."""
    look = Look(FORM, at, at + 1, [Moment()], rank=1)
    cards: dict[str, dict[str, str]] = {}
    stray = 0
    first = at if text.startswith("GPU[", at) else text.rfind("\n", 0, at) + 1
    for start, line in Lines(text, first):
        stray += 1
        if match := _VALUE.match(line):
            cards.setdefault(match[1], {}).setdefault(match[2], match[3])
            stray = 0
        elif match := _ROW.match(line):
            if match[1] in look.moments[0].gpus:
                break  # printed again
            _row(look.moments[0], match)
            stray = 0
        elif stray > STRAY or (cards and "Start of ROCm SMI" in line):
            break
        if not stray:
            look.end = start + len(line)
    for gpu, card in cards.items():
        rocm.card(look, gpu, card)
    look.attached = len(look.moments[0].gpus) or None
    return look


def _row(now: Moment, match: re.Match[str]) -> None:
    gpu = match[1]
    now.put(gpu, "temperature", number(match[2], "C"))
    now.put(gpu, "power", number(match[3], "W"))
    now.put(gpu, "sm", number(match[4], "MHz"))
    now.put(gpu, "limit", number(match[5], "W"))
    now.put(gpu, "util", number(match[6], "%"))
