"""Text with output of nvidia-smi somewhere in it -> looks.

Anything may stand around it: prompts, logs, a question, headings. Every form is found by a sign
that begins it, read to its end, and the search goes on behind that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from advisor.errors import InputError
from advisor.readers.log.log import Log
from advisor.readers.smi import columns, fields, gpustat, rocm_text, table, topology, tree
from advisor.readers.smi.facts import reading
from advisor.readers.smi.look import Look, Parse
from advisor.readers.told import Told

MOST = 20_000  # outputs in one text; what follows is left out
# Each begins with a fixed word, or the search through a long log takes minutes.
_SIGNS: Mapping[str, tuple[str, Parse]] = {
    "table": (r"(?:NVIDIA-SMI|NVITOP) {1,4}[\d.]{3,15} {1,60}(?:Driver|KMD) Version", table.parse),
    "tree": (r"NVSMI LOG=", tree.parse),
    "columns": (r"\#[ \t]?(?:(?:Date[, \t]{1,9})?Time[, \t]{1,9})?gpu[, \t]+[a-z]", columns.parse),
    "command": (r"--query-(?:gpu|compute-apps)[= ]\"?[a-z]", fields.parse),
    "fields": (
        r"(?:utilization\.(?:gpu|memory)|memory\.(?:used|total|free)|temperature\.gpu|power\.draw|clocks\.(?:current\.)?sm"
        r"|used_(?:gpu_)?memory|pid, ?process_name)(?: \[[^\]\n]{1,8}\])?[ \t]*(?:,|$)",
        fields.parse,
    ),
    "topology": (r"GPU0[ \t]+(?:GPU1|NIC0|mlx5_\w{1,9}|CPU Affinity)\b", topology.matrix),
    "list": (r"GPU \d{1,3}: [^\n(]{1,80}\(UUID: GPU-", topology.listing),
    "gpustat": (r"'C, {0,5}\d{1,3} %", gpustat.parse),
    "rocm": (r"GPU\[\d{1,3}\][ \t]{0,9}: [^:\n]{1,80}:|PwrCap +VRAM% +GPU%", rocm_text.parse),
    "row": (r"Mi?B {0,9}/ {0,9}\d[\d.]{0,9}[MG]i?B {0,9}[|│]", table.parse),
}
# How they begin, without groups: only then is the search one for words.
_BEGIN = re.compile(
    r"NVIDIA-SMI |NVITOP |NVSMI LOG=|\#[ \t]?gpu|\#[ \t]?Date|\#[ \t]?Time|--query-|utilization\.|memory\."
    r"|temperature\.gpu|power\.draw|clocks\.|used_|pid,|GPU0|GPU \d|GPU\[|'C, |PwrCap +VRAM|MiB *\/|MB *\/"
)
_ANY = re.compile("|".join(f"(?P<{name}>{sign})" for name, (sign, _) in _SIGNS.items()), re.MULTILINE)
_LOST = re.compile(
    r"Unable to determine the device handle for GPU ?(?:\d{1,3}: )?(\S{1,24}?)(?:: |\. |$)", re.MULTILINE
)
_FAILED = re.compile(
    r"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver|No devices were found"
    r"|Failed to initialize NVML: (?:Driver/library version mismatch|Unknown Error|Insufficient Permissions)"
)
# [rank0]: of torchrun, [1,0]<stdout>: of mpirun, (worker pid=7, ip=10.0.0.1) of Ray, 0: of srun, node-1: of pdsh.
_WRITER = re.compile(
    r"[ \t>]*(?:((?:\[[^\]\n]{1,30}\](?:<std(?:out|err)>)?:)|\([^)\n]{1,80}pid=[^)\n]{1,60}\)|\d{1,5}:(?= ))"
    r"|([A-Za-z][\w.-]{1,60}):(?= ?[ |+=#\t]))"
)
_NAMED = re.compile(r"(?!rank|worker|stdout|stderr|out|err|info|log)[a-z][\w.-]*$", re.IGNORECASE)
_HEADING = re.compile(r"^[ \t>]*(?:[#=*-]+.*|.*:[ \t]*)$")
_IDLE = re.compile(r"\bidle\b", re.IGNORECASE)
_LOAD = re.compile(r"\b(?:load|busy|training|running)\b", re.IGNORECASE)


def find(log: Log) -> list[Told]:
    """What the tools say about the GPUs; nothing where their signs belong to something else.

    Raises:
        InputError: when all that the text holds is that nvidia-smi did not work.
    """
    looks = find_looks(log.text)
    missing = {match[1].rstrip(".:") for match in _LOST.finditer(log.text)}
    if missing:
        looks.append(Look("nvidia-smi", len(log.text), len(log.text), lost=missing))
    if not looks:
        failed = _FAILED.search(log.text)
        if failed and len(log.text) < 4096:
            raise InputError(
                f"{log.origin} says only that nvidia-smi did not work ({failed[0]}); "
                "reload or reinstall the driver, then take its output again"
            )
        return []
    looks, notes = _one_rank(looks)
    return [reading(looks, log.origin, log.where, [*notes, *([log.note] if log.note else [])])]


def find_looks(text: str) -> list[Look]:
    """Everything in the text that is output of these tools."""
    looks: list[Look] = []
    place = 0
    done: dict[str, int] = {}  # per writer: hosts and ranks that print into one file take turns
    while len(looks) < MOST and (hit := _BEGIN.search(text, place)):
        match = _ANY.match(text, hit.start())
        if match is None:
            place = hit.end()
            continue
        writer = _writer(text, match.start())
        begin, place = place, match.end()
        if match.start() < done.get(writer, 0):
            continue
        look = _SIGNS[match.lastgroup or ""][1](text, match.start())
        done[writer] = look.end
        if not writer:
            place = max(place, look.end)
        if not look.empty:
            look.host = writer
            look.label = _label(text, begin, match.start()) or (looks[-1].label if looks else "")
            looks.append(look)
    return looks


def _writer(text: str, at: int) -> str:
    """Who wrote the line, where a launcher put that before it."""
    start = text.rfind("\n", 0, at) + 1
    match = _WRITER.match(text, start, min(at, start + 120))
    return match[1] or match[2] if match else ""


def _one_rank(looks: list[Look]) -> tuple[list[Look], list[str]]:
    """The looks of one of several ranks: they print the same GPUs, or GPUs that cannot be told apart."""
    ranks = list(dict.fromkeys(look.host for look in looks if look.host and not _NAMED.match(look.host)))
    kept = [look for look in looks if look.host not in ranks[1:]]
    for look in kept:
        look.host = "" if look.host in ranks else look.host
    return kept, [f"{len(ranks)} ranks print it; {ranks[0]} was read"] if len(ranks) > 1 else []


def _label(text: str, start: int, end: int) -> str:
    """What the last heading before an output says of the load; ``?`` for a heading that says nothing of it."""
    label = ""
    for line in text[max(start, end - 2000) : end].split("\n"):
        if len(line) > 120 or not _HEADING.match(line):
            continue
        if _IDLE.search(line):
            label = "idle"
        elif _LOAD.search(line):
            label = "load"
    return label
