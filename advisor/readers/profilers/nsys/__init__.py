"""Exports of NVIDIA Nsight Systems (``nsys export --type sqlite``) -> what they say.

Files whose captures overlap in time are ranks of one run; others are runs of their own. A run on several
GPUs has one member per GPU, and means over the GPUs for the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.profilers.gpu_report import Report, runs, told
from advisor.readers.profilers.nsys import machine
from advisor.readers.profilers.nsys.annotations import read_annotations
from advisor.readers.profilers.nsys.database import Database, opened
from advisor.readers.profilers.nsys.events import ACTIVITIES, gpus
from advisor.readers.profilers.nsys.samples import samples
from advisor.readers.profilers.timeline import Gpu
from advisor.readers.rows import Row
from advisor.readers.told import Told

_OTHERS = {
    "MLflow's store": {"experiments", "runs"},
    "a rocprofiler database (rocpd)": {"rocpd_metadata"},
    "Optuna's store": {"studies", "trials"},
    "advisor's own store": {"diagnoses", "profiles"},
}


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What exports say.

    Raises:
        InputError: when one is no export of Nsight Systems, damaged, or holds no GPU activity.
    """
    return [told(run) for run in runs([_report(artefact, tick) for artefact in artefacts])]


def _report(artefact: Artefact, tick: Tick) -> Report:
    with artefact.as_file(tick) as path, opened(path, artefact.origin) as db:
        _check(db)
        found = gpus(db)
        if not found:
            raise InputError(
                f"{artefact.origin} is an Nsight Systems export in which no GPU did anything; "
                "capture with `nsys profile --trace=cuda,nvtx` while the model computes"
            )
        said, counters = read_annotations(db), samples(db)
        started, seconds = _session(db)
        about = tuple(machine.rows(db))

    def also(gpu: Gpu, low: int, high: int) -> Iterator[Row]:
        yield from said.rows(gpu, low, high)
        yield from counters.rows(int(gpu.ops.gpu[0]), low, high)

    return Report("Nsight Systems export", artefact.origin, found, said.steps, also, about, started, seconds)


def _check(db: Database) -> None:
    """Whether it is an export at all (raises InputError)."""
    tables = set(db.tables)
    known = ("CUPTI_ACTIVITY_KIND_", "TARGET_INFO_", "NVTX_EVENTS", "ENUM_NSYS_", "OSRT_API", "META_DATA_EXPORT")
    if any(table.startswith(known) for table in tables):
        if tables.intersection(ACTIVITIES):
            return
        raise InputError(
            f"{db.origin} is an Nsight Systems export without GPU activity; "
            "capture with `nsys profile --trace=cuda,nvtx` and export it again"
        )
    what = next((name for name, needed in _OTHERS.items() if needed <= tables), None)
    if what is None and any(table.startswith("rocpd_") for table in tables):
        what = "a rocprofiler database (rocpd)"
    shown = what or f"an SQLite file of an unknown kind ({', '.join(sorted(tables)[:4]) or 'without tables'})"
    raise InputError(f"{db.origin} is {shown}, not an export of Nsight Systems; {_ADVICE.get(shown, _GENERAL)}")


_GENERAL = "give a trace, or what `nsys export --type sqlite` writes"
_ADVICE = {
    "a rocprofiler database (rocpd)": "profile with `rocprofv3 --output-format json` and give the JSON file",
    "MLflow's store": "give a trace of the run, or its log",
}


def _session(db: Database) -> tuple[float | None, float]:
    starts = db.rows("TARGET_INFO_SESSION_START_TIME", ("utcEpochNs",), limit=1)
    lasts = db.rows("ANALYSIS_DETAILS", ("duration",), limit=1)
    numbers = [r[0][0] if r and isinstance(r[0][0], int) and 0 < r[0][0] < 1 << 62 else None for r in (starts, lasts)]
    return (numbers[0] / 1e9 if numbers[0] else None), (numbers[1] or 0) / 1e9
