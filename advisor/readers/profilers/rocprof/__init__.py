"""Traces of AMD's rocprofiler -> what they say: JSON results of rocprofv3, and its CSV tables.

Tables of one process belong together: kernels, copies and calls of HIP lie in files of their own,
``PID_kernel_trace.csv``, ``PID_memory_copy_trace.csv`` and ``PID_hip_api_trace.csv``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.profilers.gpu_report import Report, told
from advisor.readers.profilers.rocprof import results, tables
from advisor.readers.told import Told

_TABLE = re.compile(
    r"_?(kernel|memory_copy|memory_allocation|hip|hip_api|hsa_api|marker_api|scratch_memory|rccl_api)_trace\.csv",
    re.IGNORECASE,
)


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What results say: one run per JSON file and per process of CSV tables.

    Raises:
        InputError: when one is damaged or holds no GPU activity.
    """
    reports: list[Report] = []
    groups: dict[str, list[Artefact]] = {}
    for artefact in artefacts:
        if artefact.text_head.lstrip().startswith("{"):
            reports.append(results.report(artefact, tick))
        else:
            groups.setdefault(_TABLE.sub("", artefact.origin), []).append(artefact)
    reports += [tables.report(group, tick) for group in groups.values()]
    for report in reports:
        if not report.gpus:
            raise InputError(
                f"{report.origin} is a rocprofiler trace in which no GPU did anything; "
                "capture with `rocprofv3 --sys-trace --output-format json -- CMD` while the model computes"
            )
    return [told([report]) for report in reports]
