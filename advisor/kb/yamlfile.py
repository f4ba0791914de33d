"""One YAML file as plain data, with the line of every key and item.

Duplicate keys, tags and anchors are refused: a knowledge file says each thing
once, in plain data. What the data mean is `schema`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from advisor.errors import Problem

Path_ = tuple[str | int, ...]
MAX_BYTES = 1_000_000

_Base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ANCHOR = re.compile(r"^[^#'\"]*[\s\[,:-][&*][A-Za-z0-9_]+\s*$", re.MULTILINE)


@dataclass(slots=True)
class YamlFile:
    """Parsed content; `lines` maps ``id()`` of a mapping or list to the line of each key or index."""

    path: Path
    name: str
    data: Any = None
    lines: dict[int, dict[Hashable, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, location: Path_) -> int:
        """The line of the deepest part of `location` that exists in the file."""
        node, line = self.data, 1
        for key in location:
            found = self.lines.get(id(node), {}).get(key)
            if found is None:
                break
            line = found
            node = node[key]
        return line

    def problem(self, location: Path_, what: str) -> Problem:
        """A problem at `location`."""
        return Problem(self.name, self.line(location), what)


class _Loader(_Base):  # type: ignore[valid-type,misc]
    """Safe loader that notes lines and refuses duplicate keys."""

    file: YamlFile

    def construct_yaml_map(self, node: yaml.MappingNode) -> Iterator[dict[Hashable, Any]]:
        data: dict[Hashable, Any] = {}
        yield data
        lines: dict[Hashable, int] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                self.file.problems.append(Problem(self.file.name, line, f"key {key!r} is not text; quote it"))
                key = str(key)
            if key in data:
                self.file.problems.append(Problem(self.file.name, line, f"key {key!r} is given twice; keep one"))
            data[key] = self.construct_object(value_node, deep=True)
            lines[key] = line
        self.file.lines[id(data)] = lines

    def construct_yaml_seq(self, node: yaml.SequenceNode) -> Iterator[list[Any]]:
        data: list[Any] = []
        yield data
        data.extend(self.construct_object(child, deep=True) for child in node.value)
        self.file.lines[id(data)] = {i: child.start_mark.line + 1 for i, child in enumerate(node.value)}


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_yaml_map)
_Loader.add_constructor("tag:yaml.org,2002:seq", _Loader.construct_yaml_seq)


def read(path: Path, root: Path) -> YamlFile:
    """Read one file; what cannot be parsed becomes a problem with its line, never an exception."""
    file = YamlFile(path, path.relative_to(root).as_posix())
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            file.problems.append(Problem(file.name, 1, f"file is over {MAX_BYTES} bytes; split it"))
            return file
        text = raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        file.problems.append(Problem(file.name, 1, f"cannot be read as UTF-8 text ({error}); save it again"))
        return file
    anchor = _ANCHOR.search(text)
    if anchor:
        line = text.count("\n", 0, anchor.end()) + 1
        file.problems.append(Problem(file.name, line, "anchors and aliases are not used here; write it out"))
        return file
    loader = _Loader(text)
    loader.file = file
    try:
        file.data = loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = " ".join(str(getattr(error, "problem", None) or error).split())
        file.problems.append(Problem(file.name, mark.line + 1 if mark else 1, f"not valid YAML: {what}"))
    finally:
        loader.dispose()
    return file
