"""A YAML (or JSON) list of questions for `advisor ask --batch`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor.errors import InputError
from advisor.kb.yamlfile import read


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a batch, with the earlier messages of its conversation, oldest first."""

    id: str
    text: str
    history: tuple[str, ...] = ()


def read_questions(path: Path) -> list[Asked]:
    """The questions of a file.

    Raises:
        InputError: when it is not a list of ``{id, text}``, each with a ``history`` or none; the message has the line.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; give a YAML list of {{id, text}}")
    file, data = read(str(path), path.name)
    if file.problems:
        raise InputError(str(file.problems[0]))
    if not isinstance(data, list):
        raise InputError(f"{path} is not a list; write '- id: q1' and 'text: ...' for each question")
    found: list[Asked] = []
    for i, item in enumerate(data):
        if not (isinstance(item, dict) and isinstance(item.get("text"), str) and "id" in item):
            raise InputError(f"{path}:{file.line((i,))}: an entry needs an id and a text; add them")
        if not _are_messages(item.get("history", [])):
            raise InputError(f"{path}:{file.line((i,))}: history must be a list of texts, oldest first; correct it")
        found.append(Asked(str(item["id"]), item["text"], tuple(item.get("history", []))))
    return found


def _are_messages(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(message, str) for message in given)
