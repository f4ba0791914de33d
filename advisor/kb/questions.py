"""A YAML (or JSON) list of questions for `advisor ask --batch`."""

from __future__ import annotations

from pathlib import Path

from advisor.errors import InputError
from advisor.kb.yamlfile import read


def read_questions(path: Path) -> list[tuple[str, str]]:
    """The (id, text) pairs of a file.

    Raises:
        InputError: when it is not a list of ``{id, text}``; the message has the line.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; give a YAML list of {{id, text}}")
    file, data = read(str(path), path.name)
    if file.problems:
        raise InputError(str(file.problems[0]))
    if not isinstance(data, list):
        raise InputError(f"{path} is not a list; write '- id: q1' and 'text: ...' for each question")
    found: list[tuple[str, str]] = []
    for i, item in enumerate(data):
        if not (isinstance(item, dict) and isinstance(item.get("text"), str) and "id" in item):
            raise InputError(f"{path}:{file.line((i,))}: an entry needs an id and a text; add them")
        found.append((str(item["id"]), item["text"]))
    return found
