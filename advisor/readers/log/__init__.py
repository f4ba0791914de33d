"""Text that a person has (logs, command output, a paste) -> facts.

A training log may hold an NCCL log, a traceback and the table of nvidia-smi at once. So every
finder looks at the whole text for what it knows, wherever that begins, and the others do not
matter to it. A finder is one line of `FINDERS` and a module with one function,
``find(log) -> list[Told]``, which is imported only when a sign of it is in the text.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.log.log import Log, load
from advisor.readers.told import Told, together

__all__ = ["FINDERS", "Finder", "read"]


@dataclass(frozen=True, slots=True)
class Finder:
    """One kind of text: what it is called, a pattern that a text of it has somewhere, and the module that reads it."""

    name: str
    sign: re.Pattern[str]
    module: str

    def find(self, log: Log) -> list[Told]:
        """What the text says (raises InputError where it is of this kind and cannot be used)."""
        return cast("list[Told]", importlib.import_module(self.module).find(log))


def _sign(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)


# Signs are fixed strings or nearly so: they are looked for in hundreds of megabytes.
FINDERS: Sequence[Finder] = (
    Finder(
        "metrics",
        _sign(r"(?:vllm:|vllm_|sglang:|sglang_|tgi_|nv_(?:inference|gpu)_|DCGM_FI_|dcgm_|nvidia_smi_|node_)\w+[ {]"),
        "advisor.readers.log.metrics",
    ),
    Finder(
        "output of nvidia-smi",
        _sign(
            r"NVIDIA-SMI|NVSMI LOG|[MG]i?B +[|│]|# ?gpu[ ,]|#Date|#Time|--query-gpu|--query-comp|utilization\.gpu"
            r"|memory\.used|power\.draw|temperature\.gpu|process_name, used|CPU Affinity|GPU0[ \t]+GPU1|GPU\[0\]"
            r"|\(UUID: GPU-|'C, |device handle for GPU|No devices were found|initialize NVML|VRAM%"
        ),
        "advisor.readers.smi.text",
    ),
)


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What texts say together: they are taken to be of one run.

    Raises:
        InputError: when no finder knows anything in them.
    """
    told: list[Told] = []
    for artefact in artefacts:
        log = load(artefact, tick)
        told += [t for finder in FINDERS if finder.sign.search(log.text) for t in finder.find(log)]
    if not told:
        shown = ", ".join(a.origin for a in artefacts[:3])
        raise InputError(
            f"{shown} is text in which nothing is known; what can be read is listed by `advisor diagnose --help`"
        )
    return [together(told)]
