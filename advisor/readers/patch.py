"""A remedy that sets one keyword of one call -> a unified diff of the user's file. Proposed, never applied.

Only a change that can be proven is proposed: the file is parsed again, and its tree must differ from the old one in
that keyword and in nothing else. Formatting stays as it is.
"""

from __future__ import annotations

import ast
import copy
import difflib
import io
import tokenize
import warnings
from pathlib import Path
from typing import NamedTuple

MAX_BYTES = 2 * 1024 * 1024
# Other names under which a class stands in scripts.
_ALIASES = {"DDP": ("DDP", "DistributedDataParallel"), "FSDP": ("FSDP", "FullyShardedDataParallel")}
# Arguments of the Hugging Face Trainer, which makes the DataLoader from them.
_TRAINERS = ("TrainingArguments", "SFTConfig", "DPOConfig", "GRPOConfig", "RewardConfig")
# A change of results, not only of speed, is a person's decision and not a patch.
_UNSAFE = ("DataLoader.batch_size",)
_POSITIONAL = {"DataLoader": 5}  # positional arguments before the first that a remedy sets
_FOREIGN = ("site-packages", "dist-packages")
_QUIET = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE)


class _Edit(NamedTuple):
    """Replace the bytes between two (line, byte column) places; lines count from 1."""

    start: tuple[int, int]
    end: tuple[int, int]
    text: str


def propose(where: str, knob: str, to: str, folder: Path) -> str | None:
    """A unified diff that sets ``Class.keyword`` to a literal in the call at a line.

    Args:
        where: ``file:line`` of the call, absolute or relative to `folder`.
        knob: the class and its keyword, like ``DataLoader.num_workers``; arguments of the Hugging Face Trainer
            that stand for it are set as well.
        to: the new value as a Python literal.
        folder: the working directory of the run; the diff names files relative to it, for ``patch -p1``.

    Returns:
        None when there is no such call, or when the keyword cannot be set for sure: arguments behind ``*`` or
        ``**``, a value that is computed, a file that cannot be read, or one that belongs to a library.
    """
    class_name, _, keyword = knob.partition(".")
    path, line = _place(where, folder)
    if path is None or not keyword.isidentifier() or knob in _UNSAFE:
        return None
    text = _read(path)
    value = _literal(to)
    if text is None or value is None:
        return None
    call, keyword = _call(_parse(text), line, class_name, keyword) or (None, keyword)
    if call is None:
        return None
    changed = _set(text, call, keyword, ast.unparse(value))
    try:
        proven = changed is not None and _proven(text, changed, call, keyword, value)
    except RecursionError:  # a file nested more deeply than its tree can be compared
        proven = False
    return _diff(text, changed, path, folder) if proven and changed is not None else None


def _place(where: str, folder: Path) -> tuple[Path | None, int]:
    file, _, line = where.rpartition(":")
    path = folder / file
    known = bool(file) and line.isdigit() and path.suffix == ".py" and not set(_FOREIGN) & set(path.parts)
    return (path, int(line)) if known else (None, 0)


def _read(path: Path) -> str | None:
    """The text of a UTF-8 file with its line ends as they are."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return None
        return path.read_bytes().decode("utf-8")
    except (OSError, ValueError):
        return None


def _parse(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _literal(to: str) -> ast.Constant | None:
    tree = _parse(to)
    only = tree.body[0] if tree and len(tree.body) == 1 else None
    if isinstance(only, ast.Expr) and isinstance(only.value, ast.Constant):
        return only.value
    return None


def _call(tree: ast.Module | None, line: int, class_name: str, keyword: str) -> tuple[ast.Call, str] | None:
    """The one call of the class at a line that can be changed, and what the keyword is called there."""
    found = []
    for node in ast.walk(tree) if tree else ():
        here = isinstance(node, ast.Call) and node.lineno <= line <= (node.end_lineno or 0)
        if here and isinstance(node, ast.Call) and (name := _keyword(node, class_name, keyword)):
            found.append((node, name))
    exact = [f for f in found if f[0].lineno == line] or found
    return exact[0] if len(exact) == 1 and _open(exact[0][0], class_name) else None


def _keyword(call: ast.Call, class_name: str, keyword: str) -> str | None:
    func = call.func
    name = func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
    if name in _ALIASES.get(class_name, (class_name,)):
        return keyword
    return f"dataloader_{keyword}" if class_name == "DataLoader" and name.endswith(_TRAINERS) else None


def _open(call: ast.Call, class_name: str) -> bool:
    """Whether every argument of the call is in sight."""
    hidden = any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords)
    return not hidden and len(call.args) <= _POSITIONAL.get(class_name, 1)


def _set(text: str, call: ast.Call, keyword: str, value: str) -> str | None:
    """The text with the keyword replaced or inserted; None where it stays as it is or is computed."""
    for given in call.keywords:
        if given.arg == keyword:
            old = given.value
            if not isinstance(old, ast.Constant) or ast.unparse(old) == value:
                return None
            start, end = (old.lineno, old.col_offset), (old.end_lineno or 0, old.end_col_offset or 0)
            return _apply(text, [_Edit(start, end, value)])
    edits = _insertion(text, call, f"{keyword}={value}")
    return _apply(text, edits) if edits else None


def _insertion(text: str, call: ast.Call, argument: str) -> list[_Edit]:
    """Edits that add an argument at the end, in the layout that the call has."""
    parts = [*call.args, *(k.value for k in call.keywords)]
    if not parts:
        at = (call.end_lineno or 0, (call.end_col_offset or 0) - 1)
        return [_Edit(at, at, argument)]
    last = max(parts, key=lambda p: (p.end_lineno or 0, p.end_col_offset or 0))
    before, closing = _tail(text, (last.end_lineno or 0, last.end_col_offset or 0), call)
    lines = _lines(text)
    if before is None or closing is None:
        return []
    comma, end = before.string == ",", before.end
    first = next((k for k in call.keywords if k.value is last), last)
    line = lines[first.lineno - 1].encode()
    indent = line[: first.col_offset].decode()
    own_line = first.lineno > call.lineno and not indent.strip()
    if not own_line:
        return [_Edit(end, end, f" {argument}," if comma else f", {argument}")]
    newline = "\r\n" if lines[first.lineno - 1].endswith("\r\n") else "\n"
    if closing.start[0] == end[0]:
        return [_Edit(end, end, f"{'' if comma else ','}{newline}{indent}{argument}{',' if comma else ''}")]
    # A comment may follow on the line: the comma goes before it, the argument below it.
    below = (end[0], len(lines[end[0] - 1].rstrip("\r\n").encode()))
    commas = [] if comma else [_Edit(end, end, ",")]
    return [*commas, _Edit(below, below, f"{newline}{indent}{argument}{',' if comma else ''}")]


class _Token(NamedTuple):
    string: str
    start: tuple[int, int]
    end: tuple[int, int]


def _tail(text: str, start: tuple[int, int], call: ast.Call) -> tuple[_Token | None, _Token | None]:
    """The last meaningful token before the closing parenthesis, and that parenthesis; columns are in bytes."""
    lines = _lines(text)
    stop = (call.end_lineno or 0, call.end_col_offset or 0)
    before = closing = None
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline="").readline):
            if token.type in _QUIET:
                continue
            begin, end = (_bytes(lines, p) for p in (token.start, token.end))
            if end == stop:
                closing = _Token(token.string, begin, end)
                break
            if end >= start:
                before = _Token(token.string, begin, end)
    except (tokenize.TokenError, SyntaxError):
        return None, None
    return before, closing


def _bytes(lines: list[str], place: tuple[int, int]) -> tuple[int, int]:
    line, column = place
    return line, len(lines[line - 1][:column].encode()) if line <= len(lines) else 0


def _lines(text: str) -> list[str]:
    """Lines with their ends, split only where Python's tokenizer does."""
    return io.StringIO(text, newline="\n").readlines()


def _apply(text: str, edits: list[_Edit]) -> str:
    lines = [line.encode() for line in _lines(text)]
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    data = b"".join(lines)
    for edit in reversed(edits):
        begin, end = (starts[line - 1] + column for line, column in (edit.start, edit.end))
        data = data[:begin] + edit.text.encode() + data[end:]
    return data.decode("utf-8", "replace")


def _proven(old: str, new: str, call: ast.Call, keyword: str, value: ast.Constant) -> bool:
    """Whether the new text means the old one with that keyword set, and nothing else."""
    expected, found = _parse(old), _parse(new)
    if expected is None or found is None:
        return False
    for node in ast.walk(expected):
        if isinstance(node, ast.Call) and _same_place(node, call):
            _with_keyword(node, keyword, value)
    return ast.dump(expected) == ast.dump(found)


def _same_place(a: ast.Call, b: ast.Call) -> bool:
    return (a.lineno, a.col_offset, a.end_lineno, a.end_col_offset) == (
        b.lineno, b.col_offset, b.end_lineno, b.end_col_offset,
    )  # fmt: skip


def _with_keyword(call: ast.Call, keyword: str, value: ast.Constant) -> None:
    for given in call.keywords:
        if given.arg == keyword:
            given.value = copy.copy(value)
            return
    call.keywords.append(ast.keyword(keyword, copy.copy(value)))


def _diff(old: str, new: str, path: Path, folder: Path) -> str:
    absolute, here = path.resolve(), folder.resolve()
    inside = absolute.is_relative_to(here)
    before, after = (f"{side}/{absolute.relative_to(here)}" if inside else str(absolute) for side in "ab")
    lines = difflib.unified_diff(_lines(old), _lines(new), before, after)
    return "".join(x if x.endswith("\n") else f"{x}\n\\ No newline at end of file\n" for x in lines)
