"""A message that holds a paste -> the person's own words, and what the paste says.

People write "why OOM?" above, below or in front of what they paste, with or without a fence around
it. The words decide what is asked and in which language; the paste is one more artefact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from advisor.errors import InputError
from advisor.models import PASTED
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.document import read_json
from advisor.readers.recognise import DOCUMENT, SCRIPT, recognise
from advisor.readers.told import Told, together

LONG = 200  # characters: nobody asks one line this long without pasting something
_SIGNATURE = re.compile(
    r"out of memory|Traceback \(most|\w(?:Error|Exception): |\bXid\b|\bNCCL |oom-kill|throughput: |token usage: "
)
_FENCE = re.compile(
    r"^ {0,3}(?:> ?)?(`{3,}|~{3,})[^`\n]{0,40}\n(.*?)^ {0,3}(?:> ?)?\1[ \t]*$", re.MULTILINE | re.DOTALL
)
# What a line of a program looks like, and a sentence does not.
_MACHINE = re.compile(
    r"\d{2}:\d{2}:\d{2}"
    r"|^\W{0,4}(?:\([\w. =-]{2,40}\) )?(?:INFO|WARN|WARNING|ERROR|DEBUG|FATAL|CRITICAL)\b"
    r"|^[\[{}<|+$#>]|^\s{2,}\S|^\t"
    r"|Traceback \(most recent|^\w[\w.]{2,80}(?:Error|Exception)\b"
    r"|^(?:Process|Thread|PID)\b.{0,40}\d"
    r"|^[a-zA-Z_:][\w:]{2,120}(?:\{.{0,2000}\})?\s+-?[\d.]+(?:e[+-]?\d+)?(?:\s+\d+)?\s*$"
    r"|(?:[\w.%()/-]{1,40}\s?[=:]\s?[\d'\"][^=:]{0,60}){2}"
    r"|CUDA out of memory|\w\s?\|\s?\w.{0,80}\|"
    r"|^=+ ?\w|^-{5,}"
)
_SHOWN = 4000  # characters of a line that are looked at
_QUESTION = re.compile(r"([^?？:：\n]{2,300}[?？:：])\s{0,4}(?=\S)")
_QUOTE = re.compile(r"^ {0,3}> ?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Paste:
    """A message with a paste in it.

    Args:
        words: what the person wrote; empty when there is only the paste.
        told: what the paste says.
        document: the profile or diagnosis that was pasted; None when it is none.
    """

    words: str
    told: Told = field(default_factory=lambda: Told(()))
    document: object | None = None


def may_hold_paste(message: str) -> bool:
    r"""Whether it is worth a look: a short question costs nothing.

    >>> may_hold_paste("why is my training slow?"), may_hold_paste("why?\nCUDA out of memory")
    (False, True)
    """
    return "\n" in message or len(message) > LONG or _SIGNATURE.search(message) is not None


def read_paste(message: str) -> Paste | None:
    """What a message with a paste says; None when nothing that is known is in it."""
    for words, pasted in _splits(message):
        found = _read(words, pasted)
        if found is not None:
            return found
    return None


def _splits(message: str) -> Iterator[tuple[str, str]]:
    """The ways in which a message may be words and a paste, likeliest first."""
    fenced = "\n".join(m[2] for m in _FENCE.finditer(message))
    if fenced.strip():
        yield _FENCE.sub("", message).strip(), fenced
    lines = message.split("\n")
    machine = [i for i, line in enumerate(lines) if _MACHINE.search(line[:_SHOWN])]
    if machine:
        first, last = machine[0], machine[-1]
        asked = _QUESTION.match(lines[first][:_SHOWN])
        if asked and not _MACHINE.search(asked[1]) and (rest := lines[first][asked.end() :]).strip():
            pasted = [rest, *lines[first + 1 : last + 1]]
            yield _joined([*lines[:first], asked[1]], lines[last + 1 :]), _unquoted(pasted)
        yield _joined(lines[:first], lines[last + 1 :]), _unquoted(lines[first : last + 1])
    yield _joined([line for line in lines[:3] if not _MACHINE.search(line[:_SHOWN])], []), message


def _joined(before: list[str], after: list[str]) -> str:
    return "\n".join([*before, *after]).strip()


def _unquoted(lines: list[str]) -> str:
    """The lines without the marks of a Markdown quotation around all of them."""
    text = "\n".join(lines)
    quoted = sum(line.lstrip().startswith(">") for line in lines)
    return _QUOTE.sub("", text) if quoted and quoted >= len([x for x in lines if x.strip()]) else text


def _read(words: str, pasted: str) -> Paste | None:
    artefact = Artefact(PASTED, data=pasted.strip("\n").encode("utf-8", "replace"))
    kind = recognise(artefact)
    if kind is None or kind.name == SCRIPT:
        return None
    try:
        if kind.name == DOCUMENT:
            return Paste(words, document=read_json(artefact))
        told = together(kind.read([artefact], no_tick))
    except InputError:
        return None
    known = [f.name for r in (*told.readings, *(r for _, r in told.ranks)) for f in r.facts]
    # What only says which program it is of is no more than a word of the question.
    return Paste(words, told) if any(not name.startswith("run.") for name in known) else None
