"""Xid errors in lines of the kernel log: one reading for the live log and for logs that people keep.

Sources: NVIDIA's Xid catalogue (docs.nvidia.com/deploy/xid-errors), and the line as the open
kernel modules print it: ``NVRM: Xid (PCI:0000:3b:00): 79, pid=..., GPU has fallen off the bus.``
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

LINE = re.compile(r"NVRM: Xid \((?:PCI:)?(?P<gpu>[0-9A-Fa-f:.]{1,20})\): (?P<code>\d{1,4})\b")
# Faults of memory, links, bus and the GPU's own controllers. Of these a log tells first, whatever came after.
HARDWARE = (48, 62, 64, 74, 79, 94, 95, 110, 119, 120, 136, 140, 143, 158, 167, 171, 172)
# These follow another one: the program is ended (43), its channels are cleared (45), an action is named (154).
CONSEQUENCES = (43, 45, 154)


class Xid(NamedTuple):
    """One error: the PCI address of the GPU as it is printed, and the code."""

    gpu: str
    code: int


def xid(line: str) -> Xid | None:
    """The Xid error in a line, None when it holds none.

    >>> xid("[ 12.5] NVRM: Xid (PCI:0000:3b:00): 79, pid=77, GPU has fallen off the bus.")
    Xid(gpu='0000:3b:00', code=79)
    """
    match = LINE.search(line)
    return Xid(match["gpu"].lower(), int(match["code"])) if match else None


def foremost(codes: Sequence[int]) -> int | None:
    """The place of the code that tells most: the last hardware fault, else the last that follows no other one.

    >>> foremost([79, 45, 13]), foremost([13, 43, 45]), foremost([43]), foremost([])
    (0, 0, 0, None)
    """
    if not codes:
        return None
    places = range(len(codes))
    hardware = [i for i in places if codes[i] in HARDWARE]
    causes = [i for i in places if codes[i] not in CONSEQUENCES]
    return (hardware or causes or list(places))[-1]
