"""Folders and archives that NVIDIA's nsys-jax writes -> what they say.

Each process has a ``trace.parquet``: NVTX ranges of XLA, projected onto the time in which the GPU worked on
what was asked for inside them (recipe ``nvtx_gpu_proj_trace`` of Nsight Systems). Thunks are the operators of
XLA; the module that runs again and again is the step.
"""

from __future__ import annotations

import importlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from advisor.errors import InputError, TooLarge
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.intake import Tree
from advisor.readers.profilers.gpu_report import Report, told
from advisor.readers.profilers.timeline import CODE, FARTHEST, Gpu, Ops, ints, marks, ops
from advisor.readers.profilers.timeline_view import NO_STEPS, Steps
from advisor.readers.rows import Row, row
from advisor.readers.told import Told

TRACE = "trace.parquet"
MAX_ROWS = 5_000_000
LEAST_STEPS = 3
WARM = 1.05  # JAX-Toolbox leaves out the first runs of a module, which compile and wait; we do when they were longer
_OPERATOR = re.compile(r"hlo_op=([^,#]+)")
_MODULE = re.compile(r"hlo_module=([^,#]+)(,program_id=\d+)?")
_NAME, _START, _LASTS = "Name", "Projected Start", "Projected Duration"
_GPU = "('TARGET_INFO_GPU', '{}')"


def read_tree(tree: Tree, tick: Tick) -> list[Told]:
    """What the processes of one folder say together.

    Raises:
        InputError: when the tables cannot be read here, or hold no GPU activity.
    """
    traces = {name: artefact for name, artefact in tree.files.items() if name.rsplit("/", 1)[-1] == TRACE}
    gpus: list[Gpu] = []
    found: list[Steps] = []
    for at, (name, artefact) in enumerate(sorted(traces.items())):
        table = _table(artefact, (_NAME, _START, _LASTS), tick)
        made = _operations(table, at)
        if Gpu(name, made).worked:
            folder = name.rpartition("/")[0].rsplit("/", 1)[-1] or "process 0"
            gpus.append(Gpu(folder, made, copies=False))
            found.append(_steps(table))
    if not gpus:
        raise InputError(
            f"{tree.origin} is an output of nsys-jax in which no GPU did anything; profile some steps of the training"
        )
    machine = tuple(_machine(tree, tick))
    reports = [
        Report("nsys-jax output", tree.origin, [gpu], steps, machine=machine)
        for gpu, steps in zip(gpus, found, strict=True)
    ]
    return [told(reports)]


def _operations(table: Mapping[str, Sequence[Any]], number: int) -> Ops:
    starts, ends, kinds, flags = [], [], [], []
    for name, start, lasts in zip(table[_NAME], table[_START], table[_LASTS], strict=True):
        match = _OPERATOR.search(name) if isinstance(name, str) and name.startswith("TSL:Thunk:") else None
        if match and _sane(start, lasts):
            kind, mark = _kind(name, match[1])
            starts.append(start)
            ends.append(start + lasts)
            kinds.append(kind)
            flags.append(mark)
    columns = {"start": ints(starts), "end": ints(ends), "kind": ints(kinds), "marks": ints(flags)}
    return ops(columns | {"gpu": np.full(len(starts), number, np.int64)}, len(starts))


def _kind(name: str, operator: str) -> tuple[int, int]:
    """What a thunk does: calls of libraries are told by the operator of JAX that they stand for."""
    if operator.startswith("custom-call"):
        source = next((part for part in ("dot_general", "conv_general", "attention") if part in name), "")
        return CODE[{"dot_general": "matmul", "conv_general": "conv", "attention": "attention"}.get(source, "other")], 0
    return marks(operator)


def _sane(start: Any, lasts: Any) -> bool:
    return isinstance(start, int) and isinstance(lasts, int) and abs(start) < FARTHEST and 0 <= lasts < FARTHEST


def _steps(table: Mapping[str, Sequence[Any]]) -> Steps:
    """Runs of the module that takes most of the time of those that run several times, the first ones left out."""
    held: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for name, start, lasts in zip(table[_NAME], table[_START], table[_LASTS], strict=True):
        match = _MODULE.search(name) if isinstance(name, str) and name.startswith("TSL:XlaModule:") else None
        if match and match[2] and _sane(start, lasts):  # modules of the autotuner have no number
            held[match[1]].append((start, start + lasts))
    best = max(
        held.values(), key=lambda runs: sum(e - s for s, e in runs) if len(runs) >= LEAST_STEPS else 0, default=[]
    )
    if len(best) < LEAST_STEPS:
        return NO_STEPS
    best.sort()
    middle = sorted(end - start for start, end in best)[len(best) // 2]
    while len(best) > 2 and best[0][1] - best[0][0] > WARM * middle:
        best.pop(0)
    name = next(name for name, runs in held.items() if runs is best)
    return Steps(ints([s for s, _ in best]), ints([e for _, e in best]), name)


def _machine(tree: Tree, tick: Tick) -> Iterator[Row]:
    yield row("run.framework", "jax", "{string}")
    path = next((name for name in sorted(tree.files) if name.endswith("device-metadata.parquet")), None)
    if path is None:
        return
    wanted = [_GPU.format(part) for part in ("name", "totalMemory", "computeMajor", "computeMinor")]
    names, sizes, major, minor = (list(column) for column in _table(tree.files[path], wanted, tick).values())
    if names and isinstance(names[0], str):
        yield row("hw.gpu.model", names[0], "{string}")
    if major and minor and isinstance(major[0], int) and isinstance(minor[0], int):
        yield row("hw.gpu.compute_capability", f"{major[0]}.{minor[0]}", "{version}")
    numbers = [size for size in sizes if isinstance(size, int) and size > 0]
    yield row("hw.gpu.memory.limit", min(numbers, default=None), "By")


def _table(artefact: Artefact, columns: Sequence[str], tick: Tick) -> dict[str, list[Any]]:
    """Columns of a Parquet file (raises InputError)."""
    with artefact.as_file(tick) as path:
        try:
            return _arrow(path, columns, artefact.origin)
        except ImportError:
            pass
        except InputError:
            raise
        except Exception as error:  # whatever the library makes of hostile or damaged data
            raise InputError(
                f"{artefact.origin} is a table that cannot be read ({str(error)[:200]}); copy it again"
            ) from None
    raise InputError(
        f"{artefact.origin} is a Parquet table of nsys-jax, and reading those needs a package that is not here; "
        "run `pip install pyarrow` and try again"
    )


def _arrow(path: Path, columns: Sequence[str], origin: str) -> dict[str, list[Any]]:
    parquet = importlib.import_module("pyarrow.parquet")
    with parquet.ParquetFile(path) as file:
        if file.metadata.num_rows > MAX_ROWS:
            raise TooLarge(f"{origin} has more than {MAX_ROWS:,} rows; profile fewer steps")
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            raise InputError(
                f"{origin} has no column '{missing[0]}'; give the output folder of nsys-jax as it was written"
            )
        table = file.read(columns=list(columns))
    return {name: table.column(name).to_pylist() for name in columns}
