"""NVTX ranges of an Nsight Systems export -> steps, time in the data loader, and what wrote them.

Ranges come from the program (``nvtx.range_push("step 12")``), from ``torch.autograd.profiler.emit_nvtx`` and
Lightning or DeepSpeed (operators and ``Optimizer.step#AdamW.step``), from XLA and from NCCL.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from advisor.readers.profilers.nsys.database import Database
from advisor.readers.profilers.timeline import Gpu, Ints, both, clipped, ints, length
from advisor.readers.profilers.timeline_view import NO_STEPS, Steps
from advisor.readers.rows import Row, row, share

TABLE = "NVTX_EVENTS"
MOST = 400_000  # ranges with names of interest
LEAST_STEPS = 2
_STEP = re.compile(
    r"^\W*(profiler|global|train(ing)?|run_training|inference|engine|model|decode|fit)?[ _.\-]?"
    r"(step|iter(ation)?|batch)s?(?![a-z])",
    re.IGNORECASE,
)
_NO_STEP = re.compile(r"optim|zero_grad|lr_|scheduler|micro|load|log|next|sync|end|start|prepare|hook", re.IGNORECASE)
_OPERATOR = re.compile(r",? (seq|op_id) = .*$")
_NUMBER = re.compile(r"[\d/]+")
_LOADER = re.compile(
    r"^enumerate\(DataLoader\)|DataLoaderIter\.__next__|^(data_?load(ing|er)?|next_?batch|get_?batch|load_?batch)\b",
    re.IGNORECASE,
)
_ITEM = re.compile(r"^aten::_local_scalar_dense\b")
_TRAINING = re.compile(
    r"^(Optimizer\.step#|Optimizer\.zero_grad#|autograd::engine::evaluate_function|backward\b)|Backward\d",
    re.IGNORECASE,
)
_SQL = (
    "%step%", "%iter%", "%batch%", "%dataload%", "%data_load%", "aten::_local_scalar_dense%",
    "autograd::%", "backward%",
)  # fmt: skip


@dataclass(frozen=True)
class Annotations:
    """Ranges of interest by name; `steps` of the run, if they are marked; whether PyTorch marked its operators."""

    ranges: Mapping[str, tuple[Ints, Ints]]
    steps: Steps
    operators: bool

    def rows(self, gpu: Gpu, low: int, high: int) -> Iterator[Row]:
        """What ranges say about a window (ns) of one GPU."""
        loading = self._matching(_LOADER)
        if len(loading[0]) or self.operators:  # the iteration of a DataLoader is marked where operators are
            waits, window = clipped(*loading, low, high), max(high - low, 1)
            busy = clipped(gpu.ops.start, gpu.ops.end, low, high)
            yield share("trace.dataloader.fraction", length(waits) / window)
            late = (length(waits) - both(waits, busy)) / window
            yield share("ml.step.data_wait.exposed.fraction", late if len(loading[0]) else None)
        reads = self._matching(_ITEM)
        if len(reads[0]) and self.steps.count:
            inside = (reads[0] >= low) & (reads[0] < high)
            yield row("trace.item.count.per_step", int(inside.sum()) / self.steps.count, "{call}")
        if any(_TRAINING.search(name) for name in self.ranges):
            yield row("run.phase", "training", "{string}")

    def _matching(self, pattern: re.Pattern[str]) -> tuple[Ints, Ints]:
        chosen = [spans for name, spans in self.ranges.items() if pattern.search(name)]
        if not chosen:
            return ints(), ints()
        return np.concatenate([s for s, _ in chosen]), np.concatenate([e for _, e in chosen])


def read_annotations(db: Database) -> Annotations:
    """What the ranges of a file say."""
    named: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for start, end, thread, name in _ranges(db):
        named[_OPERATOR.sub("", name)].append((start, end, thread))
    spans = {name: (ints([s for s, _, _ in held]), ints([e for _, e, _ in held])) for name, held in named.items()}
    return Annotations(spans, _steps(named), _operators(db))


def _operators(db: Database) -> bool:
    operators = "LIKE 'aten::%'"
    if db.rows(TABLE, ("text",), f"WHERE text {operators}", 1):
        return True
    return bool(db.has(TABLE, "textId") and db.rows("StringIds", ("id",), f"WHERE value {operators}", 1))


def _ranges(db: Database) -> Iterator[tuple[int, int, int, str]]:
    if not db.has(TABLE, "start", "end"):
        return
    thread = "globalTid" if db.has(TABLE, "globalTid") else "start"
    for column in ("text", "textId"):
        if not db.has(TABLE, column):
            continue
        texts = _texts(db) if column == "textId" else {}
        if column == "textId" and not texts:
            continue
        where = _like("text") if column == "text" else f"textId IN ({', '.join(map(str, texts))})"
        query = f'WHERE "end" IS NOT NULL AND ({where})'
        for start, end, who, name in db.rows(TABLE, ("start", "end", thread, column), query, MOST):
            text = texts.get(name, "") if texts else name
            if isinstance(start, int) and isinstance(end, int) and end >= start and isinstance(text, str):
                yield start, end, who if isinstance(who, int) and thread == "globalTid" else 0, text


def _texts(db: Database) -> dict[int, str]:
    rows = db.rows("StringIds", ("id", "value"), f"WHERE {_like('value')}", 20_000)
    return {key: text for key, text in rows if isinstance(key, int) and isinstance(text, str)}


def _like(column: str) -> str:
    return " OR ".join(f"{column} LIKE '{pattern}'" for pattern in _SQL)


def _steps(named: Mapping[str, Sequence[tuple[int, int, int]]]) -> Steps:
    """The ranges that look like steps and cover the most time: of one name and one thread, one after the other."""
    families: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for name, held in named.items():
        if _STEP.search(name) and not _NO_STEP.search(name):
            for start, end, thread in held:
                families[_NUMBER.sub("#", name), thread].append((start, end))
    best = NO_STEPS
    for (name, _), spans in sorted(families.items()):
        spans.sort()
        first, last = ints([s for s, _ in spans]), ints([e for _, e in spans])
        apart = len(spans) >= LEAST_STEPS and bool((first[1:] >= last[:-1]).all())
        if apart and (last - first).sum() > (best.end - best.start).sum():
            best = Steps(first, last, name.strip())
    return best
