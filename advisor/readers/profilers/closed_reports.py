"""Reports that only the tool that wrote them can open: each ends with the command that makes one that can be read."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.told import Told

COMPUTE = b"NVR\0"  # how reports of Nsight Compute begin
_SYSTEMS = (".nsys-rep", ".qdrep")
_COMPUTE = (".ncu-rep", ".nsight-cuprof-report")


def is_closed(artefact: Artefact) -> bool:
    """Whether it is such a report: Nsight Systems has no public signature, so its name must do."""
    return artefact.head.startswith(COMPUTE) or artefact.name.lower().endswith((*_SYSTEMS, *_COMPUTE, ".qdstrm"))


def read(artefacts: Sequence[Artefact], _: Tick) -> list[Told]:
    """Never anything: raises InputError that says what to do."""
    raise InputError(_sentence(artefacts[0]))


def _sentence(artefact: Artefact) -> str:
    name = artefact.name.lower()
    if artefact.head.startswith(COMPUTE) or name.endswith(_COMPUTE):
        return (
            f"{artefact.origin} is a report of Nsight Compute, which looks into single kernels and does not say "
            "why a run is slow; profile some steps with `nsys profile --trace=cuda,nvtx` and give what "
            "`nsys export --type sqlite` writes"
        )
    if name.endswith(".qdstrm"):
        return (
            f"{artefact.origin} is a raw stream of Nsight Systems; open it once with nsys-ui, which writes a report, "
            "and give what `nsys export --type sqlite` makes of that"
        )
    return (
        f"{artefact.origin} is a report of Nsight Systems that only its own tools can open; "
        f"run `nsys export --type sqlite {artefact.name}` and give the .sqlite file that it writes"
    )
