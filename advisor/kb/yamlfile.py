"""One YAML file as plain data, and on demand the line of every key and item.

Two parsers share the work: `yaml_rs` gives the data (several times faster than libyaml), and PyYAML
the positions, which only a problem needs. Duplicate keys, tags and anchors are refused: a
knowledge file says each thing once, in plain data. What the data mean is `schema`'s business.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import yaml
import yaml_rs

from advisor.errors import Problem

Path_ = tuple[str | int, ...]
MAX_BYTES = 1_000_000

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ANCHOR = re.compile(r"[&*][A-Za-z0-9_]+[ \t]*$", re.MULTILINE)
_LINE = re.compile(r"\bline (\d+)")


class YamlFile:
    """One file: its name, the hash of its content, and what is wrong with it.

    The content itself is not kept: reading 250 files is faster when each reuses the memory of the one before.
    """

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name
        self.digest = b""
        self.problems: list[Problem] = []

    def line(self, location: Path_) -> int:
        """The line of the deepest part of `location` that exists in the file."""
        node, line = self._root, 1
        for key in location:
            found = _child(node, key)
            if found is None:
                break
            line, node = found
        return line

    def problem(self, location: Path_, what: str) -> Problem:
        """A problem at `location`."""
        return Problem(self.name, self.line(location), what)

    @cached_property
    def _root(self) -> yaml.Node | None:
        try:
            with open(self.path, encoding="utf-8") as opened:
                root: yaml.Node | None = yaml.compose(opened, Loader=_Loader)
        except (yaml.YAMLError, OSError, UnicodeDecodeError):
            return None
        return root


def _child(node: yaml.Node | None, key: str | int) -> tuple[int, yaml.Node] | None:
    """The line and the node under `key`."""
    if isinstance(node, yaml.MappingNode):
        return next(((k.start_mark.line + 1, v) for k, v in node.value if k.value == key), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line + 1, node.value[key]
    return None


def read(path: str, name: str) -> tuple[YamlFile, Any]:
    """One file and its content; what cannot be parsed becomes a problem with its line, never an exception."""
    file = YamlFile(path, name)
    try:
        return file, _content(file)
    except (OSError, UnicodeDecodeError) as error:
        file.problems.append(Problem(file.name, 1, f"cannot be read as UTF-8 text ({error}); save it again"))
    except yaml_rs.YAMLDecodeError as error:
        file.problems.append(_defect(file, str(error)))
    return file, None


def _content(file: YamlFile) -> Any:
    with open(file.path, "rb") as opened:
        raw = opened.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        file.problems.append(Problem(file.name, 1, f"file is over {MAX_BYTES} bytes; split it"))
        return None
    file.digest = hashlib.sha256(raw).digest()
    text = raw.decode("utf-8")
    if line := _anchor(text):
        file.problems.append(Problem(file.name, line, "anchors and aliases are not used here; write it out"))
        return None
    return yaml_rs.loads(text)


def _anchor(text: str) -> int | None:
    """The line of the first anchor or alias: one that ends a line and stands in no quotes or comment."""
    found = [at for sign in "&*" for at in _places(text, sign) if _names(text, at)]
    return text.count("\n", 0, min(found)) + 1 if found else None


def _places(text: str, sign: str) -> Iterator[int]:
    at = text.find(sign)
    while at >= 0:
        yield at
        at = text.find(sign, at + 1)


def _names(text: str, at: int) -> bool:
    before = text[text.rfind("\n", 0, at) + 1 : at]
    if before[-1:] not in (" ", "\t", "[", ",", ":", "-") or any(c in before for c in "#'\""):
        return False
    return _ANCHOR.match(text, at) is not None


def _defect(file: YamlFile, said: str) -> Problem:
    """What the parser stumbled over, in one line. It names a duplicate key without its place: that is looked up."""
    twice = re.match(r"duplicate mapping key: '(.*)'", said)
    if twice:
        line = _second(file._root, twice[1]) or 1  # noqa: SLF001 - the same module
        return Problem(file.name, line, f"key {twice[1]!r} is given twice; keep one")
    place = _LINE.search(said)
    return Problem(file.name, int(place[1]) if place else 1, f"not valid YAML: {said.splitlines()[-1].strip()}")


def _second(node: yaml.Node | None, key: str) -> int | None:
    """The line on which `key` is given for the second time in one mapping."""
    if isinstance(node, yaml.MappingNode):
        lines: list[int] = [k.start_mark.line + 1 for k, _ in node.value if k.value == key]
        if len(lines) > 1:
            return lines[1]
    children = [v for _, v in node.value] if isinstance(node, yaml.MappingNode) else getattr(node, "value", [])
    if isinstance(node, yaml.CollectionNode):
        return next((line for child in children if (line := _second(child, key))), None)
    return None
