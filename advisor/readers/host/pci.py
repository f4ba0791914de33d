"""lspci -vv: NVIDIA GPUs on the bus, those that no longer answer, and links with fewer lanes than the card has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from advisor.readers.host.part import Part, Shared
from advisor.readers.rows import Row, row

DEVICE = re.compile(
    r"^(?P<slot>(?:[0-9a-f]{4,6}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]) (?P<what>[^\n]{1,300})$", re.MULTILINE
)
GPU = re.compile(r"^(?:3D controller|VGA compatible controller)[^:]{0,12}: NVIDIA ")
FAST = re.compile(r"^(?:3D|VGA compatible|Infiniband|Ethernet|Non-Volatile memory) controller")
NVME = "Non-Volatile"
WIDE = 8  # lanes of a card that matters, other than a disk
DEAD = ("(rev ff)", "Unknown header type 7f")


def lspci(part: Part, _: Shared) -> Iterator[Row]:
    """GPUs and links; the generation of a link is left out, since idle cards lower it."""
    found = list(DEVICE.finditer(part.text))
    gpus, lost, narrow = [], [], []
    widths: list[tuple[int, int, str]] = []
    ends = [*(m.start() for m in found[1:]), len(part.text)]
    for match, end in zip(found, ends, strict=False):
        block, what, where = part.text[match.start() : end], match["what"], part.at(match.start())
        gpu = GPU.match(what) is not None
        if gpu:
            gpus.append(where)
            lost += [where] * any(sign in block for sign in DEAD)
        can, has = (re.search(rf"\b{name}:[^\n]{{0,120}}?Width x(\d{{1,2}})", block) for name in ("LnkCap", "LnkSta"))
        if can and has and FAST.match(what) and int(has[1]) > 0:
            if int(has[1]) < int(can[1]) and (what.startswith(NVME) or int(can[1]) >= WIDE):
                narrow.append(where)
            if gpu:
                widths.append((int(has[1]), int(can[1]), where))
    if gpus:
        yield row("hw.gpu.count", len(gpus), "{gpu}", gpus[0])
        yield row("hw.gpu.lost.count", len(lost), "{gpu}", lost[0] if lost else None)
    if widths:
        has_, can_, where = min(widths, key=lambda w: w[0] / w[1])
        yield row("hw.gpu.pcie.link.width", has_, "{lane}", where)
        yield row("hw.gpu.pcie.link.width.max", can_, "{lane}", where)
    if "LnkSta:" in part.text:
        yield row("hw.pcie.link.narrow.count", len(narrow), "{device}", narrow[0] if narrow else None)
