"""The long query as XML (``nvidia-smi -q -x``), one or several documents after one another.

The document type is never fetched, and a document that declares entities is not read: nvidia-smi
writes none, and they are how small files are made to fill the memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pyexpat import ExpatError, ParserCreate

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, Tick, decode
from advisor.readers.smi.facts import reading
from advisor.readers.smi.look import Look, Moment
from advisor.readers.smi.query import MACHINE, Cells, add, plain
from advisor.readers.smi.values import moment, number
from advisor.readers.told import Told

FORM = "nvidia-smi -q -x"
MAX_BYTES = 64 << 20
MAX_DEPTH, MAX_CELL = 32, 4096
_DOCUMENT = re.compile(r"<nvidia_smi_log\b")
_END = "</nvidia_smi_log>"
_COMPUTE = frozenset(("C", "M+C"))
_INSIDE = frozenset(("mig_device", "process_info", "supported_clocks", "accounted_processes"))


def holds(artefact: Artefact) -> bool:
    """Whether it is the query as XML, whatever stands before it."""
    return b"<nvidia_smi_log" in artefact.head or "<nvidia_smi_log" in artefact.text_head


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What each file says; each is of a machine or a time of its own.

    Raises:
        InputError: when one is damaged or says nothing of a GPU.
    """
    return [_read(artefact, tick) for artefact in artefacts]


def _read(artefact: Artefact, tick: Tick) -> Told:
    text = decode(artefact.read(MAX_BYTES, tick))
    looks, cut = parse(text, artefact.origin)
    looks = [look for look in looks if any(state for _, state in look.states()) or look.broken]
    if not looks:
        raise InputError(
            f"{artefact.origin} is output of {FORM} that is cut off or lists no GPU; "
            "take it again where `nvidia-smi -L` lists one"
        )
    notes = ["the file is cut off: what follows is missing"] if cut else []
    return reading(looks, artefact.origin, lambda _: None, notes)


def parse(text: str, origin: str) -> tuple[list[Look], bool]:
    """The documents of a text, and whether the last one is cut off.

    Raises:
        InputError: when one is not well-formed before its end, or declares entities.
    """
    looks: list[Look] = []
    start = _DOCUMENT.search(text)
    while start is not None:
        end = text.find(_END, start.end())
        following = _DOCUMENT.search(text, start.end())
        if end < 0 or (following is not None and following.start() < end):
            end = following.start() if following else len(text)
            looks.append(_document(text[start.start() : end], start.start(), origin, whole=False))
            if following is None:
                return looks, True
        else:
            looks.append(_document(text[start.start() : end + len(_END)], start.start(), origin, whole=True))
        start = following
    return looks, False


def _document(text: str, at: int, origin: str, *, whole: bool) -> Look:
    document = _Document(at, at + len(text))
    parser = ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = document.start
    parser.EndElementHandler = document.finish
    parser.CharacterDataHandler = document.characters
    try:
        parser.Parse(text.encode("utf-8", "replace"), whole)
    except ExpatError as error:
        if whole:
            raise InputError(
                f"{origin} is output of {FORM}, and damaged in line {error.lineno}; copy it again"
            ) from None
    document.close()
    return document.look


class _Document:
    def __init__(self, at: int, end: int) -> None:
        self.look = Look(FORM, at, end, [Moment()], rank=3)
        self._path: list[str] = []
        self._text: list[str] = []
        self._length = 0
        self._gpu = ""
        self._cells: Cells = {}
        self._instances = 0
        self._processes: list[str] | None = None

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        self._text, self._length = [], 0
        if len(self._path) > MAX_DEPTH:
            raise InputError(f"output of {FORM} is not nested deeper than {MAX_DEPTH} levels, this is; copy it again")
        if tag == "gpu" and len(self._path) == 2:
            self.close()
            self._gpu = attributes.get("id", "") or f"number {len(self.look.words)}"
            self.look.say(self._gpu, "bus", attributes.get("id"))
        elif tag == "mig_device":
            self._instances += 1
        elif tag == "processes":
            self._processes = []

    def characters(self, data: str) -> None:
        if self._length < MAX_CELL:
            self._text.append(data)
            self._length += len(data)

    def finish(self, tag: str) -> None:
        value = "".join(self._text).strip()
        self._text = []
        path = tuple(self._path)
        self._path.pop()
        if tag == "gpu" and len(path) == 2:
            self.close()
        elif value and self._gpu:
            self._cell(path, value)
        elif value and len(path) == 2:
            word = next((word for word, keys in MACHINE.items() if plain(tag) in keys), None)
            self.look.say("", word or "", value if word else None)

    def _cell(self, path: tuple[str, ...], value: str) -> None:
        if "process_info" in path and path[-1] == "type" and self._processes is not None:
            self._processes.append(value)
        if _INSIDE.intersection(path):
            return
        section, key = plain(path[-2]), plain(path[-1])
        if section in ("singlebit", "doublebit") and len(path) > 3:  # before Ampere: errors by their size
            section, key = plain(path[-3]), f"{section}.{key}"
        self._cells.setdefault((section, key), value)

    def close(self) -> None:
        """The GPU is complete, or the text ends."""
        now, words = self.look.moments[0], self.look.words.get("", {})
        now.time = moment(words.get("time", ""))
        attached = number(words.get("attached", ""))
        self.look.attached = None if attached is None else int(attached)
        if not self._gpu:
            return
        add(self.look, now, self._gpu, self._cells)
        if self._instances:
            now.put(self._gpu, "instances", float(self._instances))
        if self._processes is not None:
            now.put(self._gpu, "processes", float(sum(kind in _COMPUTE for kind in self._processes)))
        self._gpu, self._cells, self._instances, self._processes = "", {}, 0, None
