"""What kind of artefact something is, by what it holds; a name is believed only where it says Python source.

A new kind is one line of `KINDS` (or `TREES`) and a module with one function:
``read(artefacts, tick) -> list[Told]`` (or ``read_tree(tree, tick) -> list[Told]``).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from advisor.readers import snapshot, stacks, weights
from advisor.readers.artefact import Artefact, Tick, is_binary
from advisor.readers.closed_reports import is_closed
from advisor.readers.intake import Tree
from advisor.readers.prometheus import looks_like_metrics
from advisor.readers.sample_signs import looks_like_samples
from advisor.readers.script.source import looks_like_python, parses
from advisor.readers.told import Told
from advisor.readers.web_page import looks_like_a_page

_PLANE = re.compile(rb"/(device:(GPU|TPU|CUSTOM)|host:)")
Read = Callable[[Sequence[Artefact], Tick], list[Told]]
ReadTree = Callable[[Tree, Tick], list[Told]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of artefact: what it is called, how it is known, and the module that reads it."""

    name: str
    holds: Callable[[Artefact], bool]
    module: str

    @property
    def read(self) -> Read:
        """The reader, imported when it is needed."""
        return cast("Read", importlib.import_module(self.module).read)


@dataclass(frozen=True, slots=True)
class TreeKind:
    """One kind of folder: `root` finds where in its file names it begins, None when it is not of this kind."""

    name: str
    root: Callable[[Mapping[str, Artefact]], str | None]
    module: str

    @property
    def read_tree(self) -> ReadTree:
        """The reader, imported when it is needed."""
        return cast("ReadTree", importlib.import_module(self.module).read_tree)


def _python(artefact: Artefact) -> bool:
    # A script may be too short to tell; what was pasted is no file that could be read with what it imports.
    if artefact.path is None or artefact.member:
        return False
    return artefact.path.suffix in (".py", ".pyw") or (
        looks_like_python(artefact.text_head) and parses(artefact.text_head)
    )


def _rocprof(artefact: Artefact) -> bool:
    head = artefact.text_head[:4096]
    if _json(artefact):
        return '"rocprofiler-sdk-tool"' in head
    first = head.split("\n", 1)[0]
    return ("Start_Timestamp" in first and "End_Timestamp" in first) or ("KernelName" in first and "BeginNs" in first)


def _xplane(artefact: Artefact) -> bool:
    # A plane comes first: field 1, as bytes; its name stands near its beginning.
    head = artefact.head
    return head[:1] == b"\x0a" and is_binary(head) and _PLANE.search(head) is not None


def _nsys_jax(files: Mapping[str, Artefact]) -> str | None:
    folders = [name.removesuffix("trace.parquet") for name in files if name.rsplit("/", 1)[-1] == "trace.parquet"]
    if not folders or not all(f"{folder}files.parquet" in files for folder in folders):
        return None
    return "" if len(folders) > 1 else folders[0]


# A log may begin with a bracket too: [2025-01-31 09:00:00], [rank0]:, [1,0]<stdout>, or be one object per line.
_JSON = re.compile(
    r'\{\s*(?:["}]|\Z)|\[\s*(?:[\[{"]|\]?\s*\Z|-?[\d.eE+]+\s*(?:,(?!\d+\]<)|\]\s*\Z)|true\b|false\b|null\b)'
)
_JSON_LINES = re.compile(r"\{[^\n]*\}[ \t]*\r?\n[ \t]*\{")


def _json(artefact: Artefact) -> bool:
    head = artefact.text_head.lstrip()
    return bool(_JSON.match(head)) and not _JSON_LINES.match(head)


def _smi_xml(artefact: Artefact) -> bool:
    return "<nvidia_smi_log" in artefact.text_head


def _rocm(artefact: Artefact) -> bool:
    return bool(_ROCM.search(artefact.text_head))


def _text(artefact: Artefact) -> bool:
    return bool(artefact.head) and not is_binary(artefact.head)


# The first card of rocm-smi, or the first GPU of amd-smi (bare in a list, or in "gpu_data") with one of its groups.
_ROCM = re.compile(
    r'^\s*\{\s*"card\d{1,3}"\s*:\s*\{|[\[{]\s*\{?\s*"gpu"\s*:\s*\d{1,3}\s*,\s*"'
    r'(?:usage|asic|power|mem_usage|power_usage|vram|bus|gfx|hotspot_temperature|temperature|clock|xcp|timestamp)[a-z_]*"'
)
SCRIPT, DOCUMENT, TEXT = "a Python script", "a profile or diagnosis", "text"
SQLITE = b"SQLite format 3\0"
# The first test that holds decides.
KINDS: Sequence[Kind] = (
    Kind("an Nsight Systems export", lambda a: a.head.startswith(SQLITE), "advisor.readers.nsys"),
    Kind("a report of NVIDIA Nsight", is_closed, "advisor.readers.closed_reports"),
    Kind("an XPlane profile", _xplane, "advisor.readers.xplane"),
    Kind("a rocprofiler trace", _rocprof, "advisor.readers.rocprof"),
    Kind("saved samples", lambda a: looks_like_samples(a.text_head), "advisor.readers.history"),
    Kind("saved metrics", lambda a: looks_like_metrics(a.text_head), "advisor.readers.scrapes"),
    Kind("output of nvidia-smi -q -x", _smi_xml, "advisor.readers.smi.xml"),
    Kind("output of rocm-smi", _rocm, "advisor.readers.smi.rocm"),
    Kind("weights of a model", weights.holds, "advisor.readers.weights"),
    Kind("a memory snapshot", snapshot.holds, "advisor.readers.snapshot"),
    Kind("sampled stacks", stacks.holds, "advisor.readers.stacks"),
    Kind(DOCUMENT, _json, "advisor.readers.document"),
    Kind(SCRIPT, _python, "advisor.readers.script"),
    Kind("a web page", lambda a: looks_like_a_page(a.text_head), "advisor.readers.web_page"),
    Kind(TEXT, _text, "advisor.readers.log"),
)
TREES: Sequence[TreeKind] = (
    TreeKind("a PyTorch checkpoint", weights.root, "advisor.readers.weights"),
    TreeKind("an output of nsys-jax", _nsys_jax, "advisor.readers.nsys_jax"),
)


def recognise(artefact: Artefact) -> Kind | None:
    """The kind of an artefact; None when it is none that is known (raises InputError when it cannot be read)."""
    return next((kind for kind in KINDS if kind.holds(artefact)), None)


def recognise_tree(tree: Tree) -> tuple[TreeKind, Tree] | None:
    """The kind of a tree whose files belong together, with the part of it that does."""
    for kind in TREES:
        root = kind.root(tree.files)
        if root is not None:
            files = {name[len(root) :]: a for name, a in tree.files.items() if name.startswith(root)}
            return kind, Tree(tree.origin, files)
    return None
