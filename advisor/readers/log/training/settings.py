"""Settings that training logs print: argument dumps of Megatron, DeepSpeed and the Trainer, Lightning's start lines.

A value counts wherever it stands as ``name ..... value``, ``name=value``, ``"name": value`` or ``--name value``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from advisor.models import Value
from advisor.readers.log.log import Log
from advisor.readers.log.training.part import Said, flag, hinted, latest

Convert = Callable[[str], Value | None]
# Between a name and a word stands a sign; between a name and a number blanks are enough.
_VALUE = r"""["']?(?:\s?\.{2,}\s|\s{0,4}[:=]\s{0,4}|[ \t]{1,4}(?=\d))["']?(?:torch\.)?([A-Za-z0-9_.+,-]{1,40})"""
# Settings stand at the beginning, once per run and rank: more lines than this say nothing more of them.
MAX_LINES = 50_000
_HINTS = (
    "size", "batch", "workers", "degree", "fp16", "bf16", "float16", "dtype", "checkpoint", "recompute", "ptim",
    "nodes", "overlap_", "interval", "logging_steps", "compile", "backend", "zero", "seq", "parameters", "trained",
    "micro", "pin_memory", "unused", "ccumulat", "deepspeed", "length", "persistent",
)  # fmt: skip
# Characters that a name is not a part of a longer name after.
_START = r"(?<![A-Za-z0-9_./])(?:--)?"


@dataclass(frozen=True, slots=True)
class Setting:
    """How one setting is printed: its names, the fact that it is, and how its value is read."""

    names: str
    fact: str
    unit: str
    convert: Convert


def _count(text: str) -> float | None:
    value = _number(text)
    return value if value is not None and value >= 1 else None


def _number(text: str) -> float | None:
    try:
        value = float(text.rstrip("."))
    except ValueError:
        return None
    return value if 0 <= value < 1e15 else None


def _word(text: str) -> str | None:
    text = text.rsplit(".", 1)[-1]
    return text if text[:1].isalpha() and text.lower() not in ("none", "null", "true", "false", "auto") else None


def _dtype(text: str) -> str | None:
    return {"float16": "fp16", "half": "fp16", "bfloat16": "bf16", "float32": "fp32", "float": "fp32"}.get(text)


def _on(word: str) -> Convert:
    return lambda text: word if flag(text) else None


def _recompute(text: str) -> bool | None:
    return True if text in ("full", "selective") else False if text == "None" else flag(text)


def _virtual(text: str) -> float | None:
    return 1.0 if text in ("None", "null") else _count(text)


_B, _STRING = "{bool}", "{string}"
SETTINGS: tuple[Setting, ...] = (
    Setting("world[_ ]size|dist_world_size|distributed_world_size", "config.distributed.world_size", "{rank}", _count),
    Setting("nnodes|num_nodes", "config.distributed.nodes", "{host}", _count),
    Setting("tensor[-_]model[-_]parallel[-_]size|tensor-model-parallel size|tensor_parallel_degree"
            "|model_parallel_size", "config.tensor_parallel.size", "{gpu}", _count),
    Setting("pipeline[-_]model[-_]parallel[-_]size|pipeline-model-parallel size|pipe[-_]parallel[-_]size"
            "|pipeline_parallel_degree", "config.pipeline.stages", "{stage}", _count),
    Setting("context[-_]parallel[-_]size|context_parallel_degree", "config.context_parallel.size", "{gpu}", _count),
    Setting("virtual[-_]pipeline[-_]model[-_]parallel[-_]size",
            "config.pipeline.virtual_stages", "{stage}", _virtual),
    Setting("data[-_]parallel[-_]size", "config.data_parallel.size", "{gpu}", _count),
    Setting("micro[-_]batch[-_]size|train_micro_batch_size_per_gpu|per[-_]device[-_]train[-_]batch[-_]size"
            "|Instantaneous batch size per device|batch size per GPU", "ml.microbatch.size", "{sample}", _count),
    Setting("global[-_]batch[-_]size|global batch size|train_batch_size"
            r"|Total train batch size \(w\. parallel, distributed & accumulation\)",
            "ml.batch.global", "{sample}", _count),
    Setting("gradient[-_]accumulation[-_]steps|Gradient Accumulation steps|accumulate_grad_batches",
            "ml.gradient_accumulation.steps", "{step}", _count),
    Setting("num_micro_batches|number of micro-batches to constant", "micro", "{batch}", _count),
    Setting("seq[-_]length|max_seq_length|max_seq_len|max_target_length|cutoff_len",
            "ml.sequence_length.max", "{token}", _count),
    Setting("params_dtype|parameters_dtype", "config.precision.compute", _STRING, _dtype),
    Setting("fp16|fp16_enabled", "config.precision.compute", _STRING, _on("fp16")),
    Setting("bf16|bfloat16_enabled", "config.precision.compute", _STRING, _on("bf16")),
    Setting("checkpoint_activations|recompute_granularity|recompute_activations|gradient[-_]checkpointing",
            "config.gradient_checkpointing", _B, _recompute),
    Setting("dataloader[-_]num[-_]workers|num_workers", "config.dataloader.num_workers", "{worker}", _number),
    Setting("dataloader_pin_memory|pin_memory_loader", "config.dataloader.pin_memory", _B, flag),
    Setting("dataloader_persistent_workers", "config.dataloader.persistent_workers", _B, flag),
    Setting("optimizer|optim|optimizer_name|Basic Optimizer|Final Optimizer", "config.optimizer", _STRING, _word),
    Setting("cpu_optimizer|optimizer_cpu_offload", "config.offload", _B, flag),
    Setting("overlap_grad_reduce|overlap_comm", "config.overlap_comm", _B, flag),
    Setting("torch_compile", "config.compile.enabled", _B, flag),
    Setting("log_interval|logging_steps", "config.logging.interval", "{step}", _count),
    Setting("zero_optimization_stage|zero_stage", "zero", "", _number),
    Setting("deepspeed|use_deepspeed", "deepspeed", "", flag),
    Setting("distributed_backend|torch distributed with backend", "comm.backend", _STRING, _word),
    Setting("ddp_find_unused_parameters", "config.ddp.find_unused_parameters", _B, flag),
    Setting("Number of trainable parameters|num\\. trained|num_trainable_params",
            "config.model.parameters", "{parameter}", _count),
)  # fmt: skip
_BY_NAME = {f"s{i}": setting for i, setting in enumerate(SETTINGS)}
_PATTERN = re.compile(
    _START + "(?:" + "|".join(f"(?P<{key}>{s.names})" for key, s in _BY_NAME.items()) + ")" + _VALUE, re.MULTILINE
)
_OFFLOAD = re.compile(
    r"offload_(?:param|optimizer)[\"']?\s{0,3}[:=]\s{0,3}(?:[A-Za-z]{1,60}\(|\{)?\s{0,40}[\"']?device[\"']?\s{0,3}[:=]"
    r"\s{0,3}[\"']?(?:<[^>'\"\n]{0,60}['\"])?(cpu|nvme|none)|(DeepSpeedCPUAdam)"
)
_STAGE = re.compile(r"ZeRO stage (\d)\b|\"stage\"\s{0,3}:\s{0,3}(\d)\b|\bstage=(\d)\b")
_GPU = {
    "GPU available:": re.compile(r"GPU available: (?:True|False)[^\n]{0,40}?, used: (True|False)"),
    "CUDA capacity:": re.compile(r"(CUDA capacity): [^\n]{1,80} with [\d.]{1,12}GiB memory"),
    "device: cuda": re.compile(r"(device: cuda)"),
    "memory (MB)": re.compile(r"\(after \d+ iterations\) (memory) \(MB\)"),
    "see_memory_usage]": re.compile(r"see_memory_usage\] (MA) \d"),
    "MemAllocated=": re.compile(r"(Max)MemAllocated="),
}
_AMP = re.compile(r"Using (?:(16)bit|(bfloat16))[^\n]{0,30}(?:AMP|[Pp]recision)")
_WORLD = re.compile(r"GLOBAL_RANK: \d{1,6}, MEMBER: \d{1,6}/(\d{1,6})|Starting with (\d{1,6}) processes")


def settings(log: Log) -> list[Said]:
    """Every setting that is printed, each time that it is."""
    return [*_printed(log), *_devices(log)]


def _printed(log: Log) -> Iterator[Said]:
    for count, (at, line) in enumerate(hinted(log.text, _HINTS)):
        if "elapsed time per iteration" in line:  # what these repeat is read with their other values
            continue
        for match in _PATTERN.finditer(line):
            setting = next(s for key, s in _BY_NAME.items() if match[key] is not None)
            value = setting.convert(match[match.re.groups].replace(",", ""))
            if value is not None:
                yield Said(at + match.start(), setting.fact, value, setting.unit)
        if count >= MAX_LINES:
            return


def _devices(log: Log) -> Iterator[Said]:
    for sign, pattern in _GPU.items():
        for match in pattern.finditer(log.text) if sign in log.text else ():
            yield Said(match.start(), "run.gpu.used", match[match.re.groups] != "False", _B)
    if "recision" in log.text or "AMP" in log.text:
        for match in _AMP.finditer(log.text):
            yield Said(match.start(), "config.precision.compute", "fp16" if match.group(1) else "bf16", _STRING)
    if "GLOBAL_RANK" in log.text or "Starting with" in log.text:
        for match in _WORLD.finditer(log.text):
            value = float(match.group(1) or match.group(2))
            yield Said(match.start(), "config.distributed.world_size", value, "{rank}")
    if "offload_" in log.text or "DeepSpeedCPUAdam" in log.text:
        for match in _OFFLOAD.finditer(log.text):
            yield Said(match.start(), "offload", bool(match.group(2)) or match.group(1) != "none", _B)
    if "ZeRO" in log.text or "zero_" in log.text:
        for match in _STAGE.finditer(log.text):
            yield Said(match.start(), "zero", float(next(g for g in match.groups() if g)), "")


def resolve(said: list[Said], before: int) -> dict[str, Said]:
    """The settings that hold at a place in the text, with what follows from them."""
    known = latest(said, before)
    zero, offload, engine = (known.pop(name, None) for name in ("zero", "offload", "deepspeed"))
    if engine is not None and engine.value is False:
        zero = None  # Megatron-DeepSpeed prints the stage also when DeepSpeed is off
    if offload is not None:
        # parameters and optimizer have an entry each, in one dump: one that is offloaded is enough
        near = [s for s in said if s.name == "offload" and abs(s.at - offload.at) < 3000]
        chosen = next((s for s in near if s.value is True), offload)
        known["config.offload"] = Said(chosen.at, "config.offload", chosen.value, _B)
    if {one.value for one in said if one.name == "config.gradient_checkpointing"} == {True, False}:
        known.pop("config.gradient_checkpointing", None)  # the model's default and what was asked for: which came last?
    _world(said, known, before)
    _strategy(known, zero)
    _micro_batches(known, known.pop("micro", None))
    backend = known.get("comm.backend")
    if backend is not None and backend.value == "nccl" and "run.gpu.used" not in known:
        known["run.gpu.used"] = Said(backend.at, "run.gpu.used", True, _B)  # NCCL moves memory of GPUs only
    return known


def _world(said: list[Said], known: dict[str, Said], before: int) -> None:
    """With tensor or pipeline parallelism DeepSpeed's own world is one replica's part: the largest is the job's."""
    split = [known.get(name) for name in ("config.tensor_parallel.size", "config.pipeline.stages")]
    if any(one is not None and one.value != 1.0 for one in split):
        told = [one for one in said if one.name == "config.distributed.world_size" and one.at <= before]
        if told:
            known["config.distributed.world_size"] = max(told, key=lambda one: float(one.value))


def _strategy(known: dict[str, Said], zero: Said | None) -> None:
    """``ZeRO-3``, ``DDP+TP+PP``: only what the log states; plain data parallelism needs its own size to be told."""
    data = known.get("config.data_parallel.size")
    base, at = None, 0
    if zero is not None and isinstance(zero.value, float) and 1 <= zero.value <= 3:
        base, at = f"ZeRO-{zero.value:.0f}", zero.at
    elif data is not None:
        base, at = "DDP" if data.value != 1.0 else "none", data.at
    if base is None:
        return
    sizes = (("TP", "config.tensor_parallel.size"), ("PP", "config.pipeline.stages"),
             ("CP", "config.context_parallel.size"))  # fmt: skip
    parts = [short for short, name in sizes if name in known and known[name].value != 1.0]
    text = "+".join([*([base] if base != "none" or not parts else []), *parts])
    known["config.distributed.strategy"] = Said(at, "config.distributed.strategy", text, _STRING)


def _micro_batches(known: dict[str, Said], told: Said | None) -> None:
    """Micro-batches per step: as told, else the global batch over those that all replicas take at once."""
    count, at = None, 0
    sizes = [known.get(n) for n in ("ml.batch.global", "ml.microbatch.size", "config.data_parallel.size")]
    if told is not None:
        count, at = told.value, told.at
    elif all(sizes):
        whole, micro, replicas = (s.value for s in sizes if s is not None and isinstance(s.value, float))
        count, at = whole / (micro * replicas), sizes[0].at if sizes[0] else 0
    if not isinstance(count, float) or count < 1 or count != int(count):
        return
    if "config.pipeline.stages" in known:
        known["config.pipeline.microbatches"] = Said(at, "config.pipeline.microbatches", count, "{batch}")
    known.setdefault("ml.gradient_accumulation.steps", Said(at, "ml.gradient_accumulation.steps", count, "{step}"))
