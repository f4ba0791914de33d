"""What kind of artefact something is, by what it holds; a name is believed only where it says Python source.

A new kind is one line of `KINDS` (or `TREES`) and a module with one function:
``read(artefacts, tick) -> list[Told]`` (or ``read_tree(tree, tick) -> list[Told]``).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from advisor.readers import signs, snapshot, stacks, weights
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.host.roots import proc_root, sos_root
from advisor.readers.intake import Tree
from advisor.readers.metrics.prometheus import looks_like_metrics
from advisor.readers.metrics.sample_signs import looks_like_samples
from advisor.readers.profilers.closed_reports import is_closed
from advisor.readers.sagemaker import looks_like_system, looks_like_timeline
from advisor.readers.sagemaker import root as sagemaker_root
from advisor.readers.tfrecord import looks_like_events
from advisor.readers.told import Told
from advisor.readers.web_page import looks_like_a_page

Read = Callable[[Sequence[Artefact], Tick], list[Told]]
ReadTree = Callable[[Tree, Tick], list[Told]]
SCRIPT, DOCUMENT, TEXT = "a Python script", "a profile or diagnosis", "text"


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


# The first test that holds decides.
KINDS: Sequence[Kind] = (
    Kind("an Nsight Systems export", signs.is_sqlite, "advisor.readers.profilers.nsys"),
    Kind("a report of NVIDIA Nsight", is_closed, "advisor.readers.profilers.closed_reports"),
    Kind("an XPlane profile", signs.is_xplane, "advisor.readers.profilers.xplane"),
    Kind("a rocprofiler trace", signs.is_rocprof, "advisor.readers.profilers.rocprof"),
    Kind("saved samples", lambda a: looks_like_samples(a.text_head), "advisor.readers.metrics.history"),
    Kind(TEXT, signs.is_counters, "advisor.readers.log"),
    Kind("saved metrics", lambda a: looks_like_metrics(a.text_head), "advisor.readers.metrics.scrapes"),
    Kind("output of nvidia-smi -q -x", signs.is_smi_xml, "advisor.readers.smi.xml"),
    Kind("output of rocm-smi", signs.is_rocm, "advisor.readers.smi.rocm"),
    Kind("weights of a model", weights.holds, "advisor.readers.weights"),
    Kind("a memory snapshot", snapshot.holds, "advisor.readers.snapshot"),
    Kind("sampled stacks", stacks.holds, "advisor.readers.stacks"),
    Kind("TensorBoard events", lambda a: looks_like_events(a.head), "advisor.readers.tfevents"),
    Kind("a trainer's state", signs.is_trainer_state, "advisor.readers.trainer_state"),
    Kind("SageMaker system metrics", lambda a: looks_like_system(a.text_head), "advisor.readers.sagemaker.system"),
    Kind("a SageMaker timeline", lambda a: looks_like_timeline(a.text_head), "advisor.readers.sagemaker.timeline"),
    Kind("a PyTorch trace", signs.is_trace, "advisor.readers.trace"),
    Kind(DOCUMENT, signs.is_json, "advisor.readers.document"),
    Kind(SCRIPT, signs.is_python, "advisor.readers.script"),
    Kind("a web page", lambda a: looks_like_a_page(a.text_head), "advisor.readers.web_page"),
    Kind(TEXT, signs.is_text, "advisor.readers.log"),
)
TREES: Sequence[TreeKind] = (
    TreeKind("a PyTorch checkpoint", weights.root, "advisor.readers.weights"),
    TreeKind("an output of nsys-jax", signs.nsys_jax_root, "advisor.readers.profilers.nsys_jax"),
    TreeKind("a SageMaker profile", sagemaker_root, "advisor.readers.sagemaker.tree"),
    TreeKind("a sosreport", sos_root, "advisor.readers.host.tree"),
    TreeKind("a copy of /proc", proc_root, "advisor.readers.host.tree"),
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
