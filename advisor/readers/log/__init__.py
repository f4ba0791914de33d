"""Text that a person has (logs, command output, a paste) -> facts.

A training log may hold an NCCL log, a traceback and the table of nvidia-smi at once. So every
finder looks at the whole text for what it knows, wherever that begins, and the others do not
matter to it. A finder is one line of `finders.FINDERS` and a module with one function,
``find(log) -> list[Told]``, which is imported only when a sign of it is in the text.
"""

from __future__ import annotations

from collections.abc import Sequence

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.log.across import apart
from advisor.readers.log.finders import FINDERS
from advisor.readers.log.log import load
from advisor.readers.told import Told, together

__all__ = ["read"]


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
    return [together([*told, *apart(told)])]
