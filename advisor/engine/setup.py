"""How two runs were set up: what differs, and whether a step of one does the work of a step of the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from advisor.models import FactSpec, Profile, Value
from advisor.models.compared import Difference

LENGTHS = frozenset({"ml.sequence_length.max", "ml.sequence_length.mean"})
BATCH = frozenset({"config.dataloader.batch_size", "ml.batch.global", "ml.microbatch.size"})
WORK = LENGTHS | BATCH | {"ml.gradient_accumulation.steps", "ml.step.batches"}
PLACE = frozenset(
    {
        "run.phase",
        "run.framework",
        "run.gpu.used",
        "hw.gpu.model",
        "hw.gpu.count",
        "hw.gpu.memory.limit",
        "hw.gpu.mig.mode",
        "system.cpu.logical.count",
        "system.memory.limit",
        "process.cpu.usable.count",
        "container.cpu.limit",
        "container.cpuset.count",
        "container.memory.limit",
        "config.distributed.world_size",
        "config.distributed.nodes",
        "config.model.device",
        "config.model.parameters",
        "config.model.tensors",
    }
)
OTHER = frozenset(
    {
        "hw.gpu.driver.version",
        "hw.gpu.driver.cuda_version",
        "system.filesystem.type",
        "system.cpu.frequency.governor",
        "comm.backend",
        "comm.transport",
        "comm.interface",
        "comm.nccl.version",
    }
)
SETUP = WORK | PLACE | OTHER
SAME = 0.02  # numbers that are measured rather than set differ a little between equal runs


def differences(before: Profile, after: Profile, specs: Mapping[str, FactSpec]) -> tuple[Difference, ...]:
    """What is known of both set-ups and differs: the work of a step first, then the place, then settings by name."""
    names = [n for n in specs if (n in SETUP or n.startswith("config.")) and n in before.facts and n in after.facts]
    pairs = [(name, before.facts[name].value, after.facts[name].value) for name in sorted(names)]
    found = [Difference(n, _kind(n), old, new) for n, old, new in pairs if not _same(n, old, new)]
    kinds = ("work", "place", "setting")
    return tuple(sorted(found, key=lambda d: kinds.index(d.kind)))


def same_work(before: Profile, after: Profile, differing: Iterable[Difference]) -> bool:
    """Whether a step does as much in both runs, as far as is known: by the settings, else by samples per step."""
    if any(d.kind == "work" for d in differing):
        return False
    if any(name in before.facts and name in after.facts for name in BATCH):
        return True
    for rate in ("ml.throughput.samples", "ml.throughput.tokens"):
        old, new = _per_step(before, rate), _per_step(after, rate)
        if old and new and abs(new - old) > SAME * max(old, new):
            return False
    return True


def _per_step(profile: Profile, rate: str) -> float | None:
    values = [profile.facts[name].value for name in (rate, "ml.step.time") if name in profile.facts]
    if len(values) < 2:
        return None
    per_second, step = values
    return per_second * step if isinstance(per_second, float) and isinstance(step, float) else None


def _kind(name: str) -> Literal["work", "place", "setting"]:
    return "work" if name in WORK else "place" if name in PLACE else "setting"


def _same(name: str, old: Value, new: Value) -> bool:
    if isinstance(old, float) and isinstance(new, float) and not name.startswith("config."):
        return abs(new - old) <= SAME * max(abs(old), abs(new))
    return old == new
