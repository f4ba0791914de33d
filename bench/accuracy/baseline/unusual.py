"""Healthy machines and jobs that look odd at first sight: each one baits a rule that is too simple.

Every entry changes some facts of a regular profile and says why the result is healthy. Where a fact alone could
alarm (a card at its power limit, memory that is full by design, a wait that is hidden), the facts that show its
harmlessness are known too, because the site measures them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.accuracy.baseline import cpu_jobs, gpu, serving
from bench.accuracy.baseline.beside import kernel_facts
from bench.accuracy.baseline.draw import Draw, Facts
from bench.accuracy.baseline.host import Load, Setting, host_facts
from bench.accuracy.baseline.jobs import JOBS
from bench.accuracy.baseline.machines import MACHINES
from bench.accuracy.baseline.odd_hosts import HOSTS
from bench.accuracy.baseline.odd_servers import SERVERS
from bench.accuracy.baseline.odd_training import RUNS
from bench.accuracy.baseline.plan import make
from bench.accuracy.baseline.scenarios import Profile, document, trained_facts


@dataclass(frozen=True, slots=True)
class _Base:
    """A regular job that odd facts are put onto."""

    job: str
    machine: str
    ranks: int
    setting: Setting


_BASES = {
    "gpu": _Base("vit-b16", "dgx-8xa100-80", 1, Setting("bare", "xfs")),
    "desk": _Base("vit-b16", "ws-4090", 1, Setting("bare", "ext4")),
    "node": _Base("finetune-full-1b", "dgx-8xh100", 8, Setting("slurm", "lustre", 1.0, memory=0.95)),
    "many": _Base("pretrain-7b", "dgx-8xh100", 64, Setting("bare", "xfs")),
    "old": _Base("bert-finetune", "cloud-8xv100", 1, Setting("bare", "xfs")),
    "small": _Base("bert-finetune", "cloud-l4", 1, Setting("docker", "ext4")),
    "pod": _Base("lora-8b", "cloud-8xh100", 1, Setting("kubernetes", "nfs4", 0.125, quota=True, memory=0.12)),
    "two": _Base("lora-8b", "cloud-4xa10g", 4, Setting("bare", "xfs")),
}


def unusual_profiles() -> Iterator[Profile]:
    """All odd profiles, each through everything that a site measures and through fewer sources."""
    for name, (base, changes) in RUNS.items():
        for view in ("everything", "hook"):
            yield _run(name, base, changes, view)
    for name, (level, changes) in SERVERS.items():
        for view in ("everything", "scrape+host"):
            yield _server(name, level, changes, view)
    for name, (machine, view, changes) in HOSTS.items():
        yield _host(name, machine, view, changes)


def _run(name: str, base: str, changes: Facts, view: str) -> Profile:
    draw = Draw(f"odd run/{name}")
    if base == "laptop":
        machine, setting = MACHINES["laptop-4c"], Setting("bare")
        found = cpu_jobs.cpu_training(draw, cpu_jobs.CPU_JOBS["mnist-cnn"], machine, setting, steps=900)
        assert found is not None
        own, load = found
        facts, duration = host_facts(draw, machine, setting, load) | own | kernel_facts(draw, machine), load.age
    else:
        job, on = JOBS[_BASES[base].job], _BASES[base]
        plan = make(draw, job, MACHINES[on.machine], on.setting, on.ranks)
        assert plan is not None, name
        facts, duration = trained_facts(draw, plan, on.setting, max(60, round(900 / plan.step)))
    return document(f"{name} ({view})", view, _changed(facts, changes), changes.get("run.duration", round(duration, 1)))


def _server(name: str, level: str, changes: Facts, view: str) -> Profile:
    draw = Draw(f"odd server/{name}")
    machine, model = MACHINES["dgx-8xh100"], serving.MODELS["llama-8b"]
    traffic = serving.Traffic(level, 900, 250, 0.4)
    served = serving.serve(draw, model, machine, 1, traffic)
    assert served is not None
    assert machine.gpu is not None
    own = serving.llm_facts(draw, "vllm", model, traffic, 1, served)
    load, device = serving.loads(draw, machine.gpu, level, 1, 1.0)
    setting = Setting("kubernetes", "ext4", 0.125, quota=True, memory=0.12)
    facts = host_facts(draw, machine, setting, load) | gpu.gpu_facts(draw, machine, device) | own
    return document(f"{name} ({view})", view, _changed(facts, changes), load.duration)


def _host(name: str, machine_name: str, view: str, changes: Facts) -> Profile:
    draw = Draw(f"odd host/{name}")
    machine = MACHINES[machine_name]
    load = Load(cores=0.2, main=0.0, processes=1, threads=1, memory=5e8, duration=60, age=60)
    device = gpu.GpuLoad(0.0, 0.0, 0.0, memory=0.0, foreign=4e6, used=machine.gpus, rx=0.0, tx=0.0, steady=0.0)
    facts = host_facts(draw, machine, Setting("bare"), load) | gpu.gpu_facts(draw, machine, device)
    facts = {k: v for k, v in facts.items() if not k.startswith("process.")} | kernel_facts(draw, machine)
    return document(f"{name} ({view})", view, _changed(facts, changes), 60.0)


def _changed(facts: Facts, changes: Facts) -> Facts:
    """The facts with changes; one that is changed to None is not known."""
    return {name: value for name, value in (facts | changes).items() if value is not None}
