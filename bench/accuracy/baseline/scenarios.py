"""Which jobs run on which machines, where, and through which sources they are seen."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bench.accuracy.baseline import cpu_jobs, gpu, serving, training
from bench.accuracy.baseline.beside import kernel_facts, probe_facts, script_facts, stack_facts
from bench.accuracy.baseline.comm import comm_facts, members
from bench.accuracy.baseline.draw import Draw, Facts
from bench.accuracy.baseline.host import Load, Setting, host_facts
from bench.accuracy.baseline.jobs import JOBS, Job
from bench.accuracy.baseline.machines import GIB, MACHINES, Machine
from bench.accuracy.baseline.plan import Plan, make
from bench.accuracy.baseline.trace import trace_facts
from bench.accuracy.baseline.views import seen, sources

Profile = tuple[str, dict[str, Any]]
TRAINING_VIEWS = (
    "everything",
    "hook",
    "hook+trace",
    "everything",
    "log+smi",
    "trace",
    "exporters",
    "hook",
    "nvidia-smi",
    "log",
)
SERVING_VIEWS = ("everything", "scrape", "scrape+host", "scrape+exporters", "everything", "nvidia-smi")

_DESK = (Setting("bare"), Setting("docker", quota=False), Setting("wsl2", "ext4", 0.75), Setting("bare", "xfs"))
_SITE = (
    Setting("bare", "xfs"),
    Setting("slurm", "lustre", 1.0, memory=0.95),
    Setting("kubernetes", "ext4", 0.9, quota=True, memory=0.85),
    Setting("docker", "nfs4"),
    Setting("cgroup1", "gpfs", 1.0, memory=0.9),
    Setting("kubernetes", "fuse.gcsfuse", 0.92, quota=True, memory=0.9),
)
SETTINGS = {"laptop": _DESK, "desktop": _DESK, "server": _SITE, "cloud": _SITE}


def document(name: str, view: str, facts: Facts, duration: float, ranks: list[dict[str, Any]] | None = None) -> Profile:
    """A profile document of what the view shows."""
    shown = seen(view, facts | {"run.duration": duration})
    return name, {
        "subject": name,
        "started": "2026-11-01T00:00:00Z",
        "duration_s": duration,
        "sources": sources(view),
        "facts": dict(sorted(shown.items())),
        **({"members": ranks} if ranks and view == "everything" else {}),
    }


def all_profiles() -> Iterator[Profile]:
    """The regular part of the fleet: every combination that runs well."""
    yield from gpu_training()
    yield from cpu_training()
    yield from inference()
    yield from servers()
    yield from idle()


# --- training ---


def _scales(job: Job, machine: Machine) -> tuple[int, ...]:
    if machine.gpus == 1:
        return (1,)
    if not machine.fabric or job.kind != "text":
        return (1, machine.gpus)
    large = job.parameters > 5e9
    return (8, 64, 512) if large and job.trained == 1.0 else (1, 8, 32) if job.trained == 1.0 else (1, 8)


def gpu_training() -> Iterator[Profile]:
    """Every job on every machine that carries it, at one of the scales, in changing settings and views."""
    views = itertools.cycle(TRAINING_VIEWS)
    for number, (job, machine) in enumerate(itertools.product(JOBS.values(), MACHINES.values())):
        scales = _scales(job, machine)
        for ranks in scales[number % 2 :: 2] or scales[:1]:
            found = _trained(job, machine, ranks, number, next(views))
            if found:
                yield found


def _trained(job: Job, machine: Machine, ranks: int, number: int, view: str) -> Profile | None:
    setting = SETTINGS[machine.kind][number % len(SETTINGS[machine.kind])]
    name = f"{job.name} on {ranks} x {machine.name} ({setting.name}, {setting.data}, {view})"
    draw = Draw(name)
    plan = make(draw, job, machine, setting, ranks)
    if plan is None or number % 3 == 2:  # two thirds of what is possible are enough
        return None
    steps = max(40, round(draw.scale(300, 3000) / plan.step))
    facts, duration = trained_facts(draw, plan, setting, steps)
    return document(name, view, facts, duration, members(draw, plan) if ranks > 1 else None)


def trained_facts(draw: Draw, plan: Plan, setting: Setting, steps: int) -> tuple[Facts, float]:
    """All facts of a training job, and how long it was watched."""
    own = training.training_facts(draw, plan, setting, steps)
    duration = round(own["ml.initialization.time"] + steps * plan.step, 1)
    load, device = training.loads(draw, plan, duration)
    facts = (
        host_facts(draw, plan.machine, setting, load)
        | gpu.gpu_facts(draw, plan.machine, device)
        | own
        | comm_facts(draw, plan)
        | trace_facts(draw, plan)
        | kernel_facts(draw, plan.machine)
        | probe_facts(draw, plan.machine)
        | stack_facts(draw, plan.local, plan.workers)
        | script_facts(not plan.ahead)
    )
    return facts, duration


def cpu_training() -> Iterator[Profile]:
    """Small networks on machines without a GPU."""
    without = [m for m in MACHINES.values() if m.gpu is None]
    views = itertools.cycle(("everything", "hook", "hook", "host"))
    for number, (job, machine) in enumerate(itertools.product(cpu_jobs.CPU_JOBS.values(), without)):
        # A large server is shared: such a job has a slice of it.
        setting = (
            Setting("slurm", "nfs4", 0.0625, memory=0.1) if machine.kind == "server" else _DESK[number % len(_DESK)]
        )
        view = next(views)
        name = f"{job.name} on {machine.name} ({setting.name}, {view})"
        draw = Draw(name)
        found = cpu_jobs.cpu_training(draw, job, machine, setting, steps=draw.whole(300, 4000))
        if found:
            own, load = found
            facts = host_facts(draw, machine, setting, load) | {"hw.gpu.count": 0} | own | kernel_facts(draw, machine)
            yield document(name, view, facts, round(load.age, 1))


# --- inference ---

_INFERRED = {
    "bert-finetune": "embedding of documents",
    "vit-b16": "evaluation of images",
    "asr-conformer": "transcription",
}


def inference() -> Iterator[Profile]:
    """A model is run over a data set once, without optimizer steps: embedding, evaluation, transcription."""
    views = itertools.cycle(("everything", "hook", "exporters"))
    machines = (
        MACHINES[n] for n in ("ws-4090", "cloud-t4", "cloud-l4", "server-2xh100-pcie", "dgx-8xa100-40", "gh200")
    )
    for (job_name, what), machine in itertools.product(_INFERRED.items(), list(machines)):
        view, setting = next(views), Setting("bare", "xfs")
        name = f"{what} on {machine.name} ({view})"
        draw = Draw(name)
        # Forward alone takes a third of the arithmetic, so the loader must be three times as fast.
        job = replace(JOBS[job_name], flops=JOBS[job_name].flops / 3, state_bytes=0.0, fill=(0.1, 0.5), worth=0.05)
        plan = make(draw, job, machine, setting, 1)
        if plan:
            facts, duration = trained_facts(draw, plan, setting, max(40, round(600 / plan.step)))
            kept = {k: v for k, v in facts.items() if not k.startswith(_OF_TRAINING)}
            yield document(name, view, kept | {"run.phase": "inference"}, duration)


_OF_TRAINING = tuple(
    """ml.step. ml.checkpoint. ml.evaluation. ml.throughput. ml.rank ml.batch ml.gradient
    ml.microbatch ml.hfu ml.mfu ml.lost config.optimizer config.gradient trace.optimizer
    trace.zero config.distributed code. torch.cuda.memory.optimizer""".split()
)


# --- serving ---

_TRAFFIC = {"chat": (900, 250, 0.5), "retrieval": (3500, 180, 0.3), "code": (1500, 90, 0.6), "long": (7000, 400, 0.1)}
# Model, machine, GPUs.
_SERVED = (
    ("llama-8b", "dgx-8xh100", 1),
    ("llama-8b", "cloud-a10g", 1),
    ("llama-8b-fp8", "cloud-l4", 1),
    ("llama-8b-fp8", "cloud-l40s", 1),
    ("llama-8b-awq", "cloud-t4", 1),
    ("llama-8b-awq", "ws-4090", 1),
    ("qwen-1.5b", "cloud-t4", 1),
    ("qwen-1.5b", "ws-3090", 1),
    ("qwen-32b-fp8", "server-4xa100-pcie", 1),
    ("qwen-32b-fp8", "ws-2xa6000", 2),
    ("llama-70b", "dgx-8xh100", 4),
    ("llama-70b", "server-8xh200", 2),
    ("llama-70b-fp8", "server-2xh100-pcie", 2),
    ("mixtral-8x7b", "dgx-8xa100-80", 2),
    ("llama-70b-fp8", "dgx-8xb200", 1),
    ("llama-70b", "node-8xmi300x", 1),
    ("llama-8b", "gh200", 1),
)


def servers() -> Iterator[Profile]:
    """Language models behind vLLM, SGLang and TGI, image models behind Triton: at night, by day, full."""
    views, traffics = itertools.cycle(SERVING_VIEWS), itertools.cycle(_TRAFFIC.items())
    frameworks = itertools.cycle(("vllm", "vllm", "sglang", "tgi", "sglang"))
    for (model_name, machine_name, gpus), level in itertools.product(_SERVED, serving.FILL):
        (kind, (prompt, answer, shared)), view, framework = next(traffics), next(views), next(frameworks)
        name = f"{framework} {model_name}, {kind}, {level}, on {gpus} of {machine_name} ({view})"
        draw, machine, model = Draw(name), MACHINES[machine_name], serving.MODELS[model_name]
        traffic = serving.Traffic(level, min(prompt, model.context // 4), answer, shared)
        served = serving.serve(draw, model, machine, gpus, traffic)
        if served:
            own = serving.llm_facts(draw, framework, model, traffic, gpus, served)
            yield _server(draw, name, view, machine, gpus, level, own)
    for machine_name, level in itertools.product(("cloud-t4", "cloud-l4", "cloud-a10g"), serving.FILL):
        view = next(views)
        name = f"triton image model, {level}, on {machine_name} ({view})"
        draw = Draw(name)
        yield _server(draw, name, view, MACHINES[machine_name], 1, level, serving.triton_facts(draw, level))


def _server(draw: Draw, name: str, view: str, machine: Machine, gpus: int, level: str, own: Facts) -> Profile:
    assert machine.gpu is not None
    setting = draw.one(
        Setting("kubernetes", "ext4", max(0.1, gpus / machine.gpus * 0.9), True, 0.8),
        Setting("docker"),
        Setting("bare"),
    )
    cores = own.get("gen_ai.server.frontend.cpu.utilization", 0.2) + own.get(
        "gen_ai.server.scheduler.cpu.utilization", 0.2
    )
    load, device = serving.loads(draw, machine.gpu, level, gpus, cores)
    if own["run.framework"] == "triton":
        device = replace(device, memory=2.5 * GIB, util=device.util * 0.8)
    facts = (
        host_facts(draw, machine, setting, load)
        | gpu.gpu_facts(draw, machine, device)
        | own
        | kernel_facts(draw, machine)
    )
    return document(name, view, facts, load.duration)


# --- nobody works ---


def idle() -> Iterator[Profile]:
    """Machines without a job: cards in their lowest state, disks asleep."""
    views = itertools.cycle(("host", "nvidia-smi", "exporters", "everything", "kernel log+host"))
    for machine in MACHINES.values():
        view = next(views)
        if machine.gpu is None and view == "nvidia-smi":
            view = "host"
        name = f"idle {machine.name} ({view})"
        draw = Draw(name)
        load = Load(cores=draw(0.02, 0.3), main=0.0, processes=1, threads=1, memory=0.3 * GIB, duration=60, age=60)
        held = draw(4e6, 5e8) if machine.kind != "desktop" else draw(3e8, 1.5e9)  # a desktop draws its screen
        device = gpu.GpuLoad(0.0, 0.0, 0.0, memory=0.0, foreign=held, used=machine.gpus, rx=0.0, tx=0.0, steady=0.0)
        facts = host_facts(draw, machine, Setting("bare"), load) | gpu.gpu_facts(draw, machine, device)
        facts = {k: v for k, v in facts.items() if not k.startswith("process.")} | kernel_facts(draw, machine)
        yield document(name, view, facts, 60.0)
