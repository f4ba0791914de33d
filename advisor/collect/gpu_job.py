"""Which GPUs belong to the job: those its processes compute on, else those its environment names, else all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advisor.collect.base import Sample, read_optional

CUDA, CONTAINER, ORDER = "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
NO_STATEMENT = ("", "all", "void", "none")  # of the container's variable

Abouts = Mapping[str, Mapping[str, Any]]


def visible(root: Path) -> dict[str, str]:
    """The variables that choose GPUs, from the environment that process `root` (/proc/PID) was started with."""
    text = read_optional(root / "environ") or ""
    pairs = (entry.partition("=") for entry in text.split("\0"))
    return {name: value for name, _, value in pairs if name in (CUDA, CONTAINER, ORDER)}


def computing(sample: Sample) -> set[str]:
    """The GPUs on which NVML lists a process of the job's tree."""
    tree = {str(pid) for pid in sample["tree"] or ()}
    return {i for i, state in sample["gpus"].items() if tree & set(state["processes"] or ())}


def choose(sample: Sample, about: Abouts) -> tuple[list[str], str]:
    """The job's GPUs in order as the last sample knows them, and how they were found (empty without a job)."""
    everything = sorted(sample["gpus"], key=int)
    if sample["tree"] is None:
        return everything, ""
    if sample["used"]:
        chosen = sorted(sample["used"], key=int)
        return chosen, f"judged: the GPUs that the job computes on ({', '.join(chosen)})"
    told = sample["visible"]
    named = _named(told, about, everything)
    silence = "NVML lists no process of this job on any GPU, so "
    if named is None:
        return everything, f"{silence}all GPUs are judged"
    variable = CUDA if CUDA in told else CONTAINER
    if not named:
        return [], f"{silence}none is judged: {variable} hides all of them from it"
    return named, f"{silence}those that {variable} gives it are judged ({', '.join(named)})"


def _named(told: Mapping[str, str], about: Abouts, everything: Sequence[str]) -> list[str] | None:
    """The GPUs that the variables name; None when they say nothing, or nothing that can be trusted."""
    container = told.get(CONTAINER, "")
    given = None if container in NO_STATEMENT else _resolve(container.split(","), about, everything)
    # Inside the container its own numbers no longer fit: NVML counts from zero what the container was given.
    trusted = None if given is None or None in given else sorted({g for g in given if g}, key=int)
    if CUDA not in told:
        return trusted
    tokens = [token.strip() for token in told[CUDA].split(",")]
    numbers = any(token.isdigit() for token in tokens)
    if numbers and told.get(ORDER) != "PCI_BUS_ID" and len({a.get("name") for a in about.values()}) > 1:
        return None  # CUDA counts the fastest card first, NVML by place on the bus
    resolved = _resolve(tokens, about, trusted or everything)
    valid = resolved[: resolved.index(None)] if None in resolved else resolved  # CUDA stops at the first bad one
    if not valid and tokens[0] not in ("", "-1"):
        return None  # made for another view of the machine than NVML gives here
    return sorted({gpu for gpu in valid if gpu}, key=int)


def _resolve(tokens: Sequence[str], about: Abouts, offered: Sequence[str]) -> list[str | None]:
    return [_gpu(token.strip(), about, offered) for token in tokens]


def _gpu(token: str, about: Abouts, offered: Sequence[str]) -> str | None:
    """The GPU of an index, a UUID or an unambiguous beginning of one, or a MIG device on it."""
    index = token.partition(":")[0]  # "0:1" is the second MIG device of the first GPU
    if index.isdigit():
        return offered[int(index)] if int(index) < len(offered) else None
    uuid = token.removeprefix("MIG-").partition("/")[0] if token.startswith("MIG-GPU-") else token
    if not uuid.startswith(("GPU-", "MIG-")):
        return None
    known = {i: [a.get("uuid") or "", *(a.get("mig_devices") or ())] for i, a in about.items()}
    fits = [i for i, uuids in known.items() if any(u.startswith(uuid) for u in uuids)]
    return fits[0] if len(fits) == 1 else None
