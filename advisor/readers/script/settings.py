"""What a script sets: trainer arguments, wrappers, precision and debugging switches, as configuration facts."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from advisor.models import Value
from advisor.readers.script.source import Module
from advisor.readers.script.values import Known, Values


class Setting(NamedTuple):
    """A configuration fact with its unit and line; `via` as in `Known`."""

    name: str
    value: Value
    unit: str
    where: str
    via: str = ""


Convert = Callable[[Value], Value | None]
_BOOL, _STRING, _STEP = "{bool}", "{string}", "{step}"


def _same(value: Value) -> Value | None:
    return value


def _precision(value: Value) -> Value | None:
    """The compute dtype of Lightning's ``precision`` (32, "16-mixed", "bf16-true", ...)."""
    word = str(value).removesuffix("-mixed").removesuffix("-true")
    return {"32": "fp32", "16": "fp16", "bf16": "bf16", "64": "fp64"}.get(word)


def _strategy(value: Value) -> Value | None:
    word = str(value)
    for start, name in (("ddp", "DDP"), ("fsdp", "FSDP"), ("dp", "DP"), ("deepspeed_stage_3", "ZeRO-3")):
        if word.startswith(start):
            return name
    return {"deepspeed_stage_1": "ZeRO-1", "deepspeed_stage_2": "ZeRO-2", "deepspeed": "ZeRO-2"}.get(word)


def _fused(value: Value) -> Value | None:
    return "fused" if str(value).endswith("_fused") else None


def _interval(value: Value) -> Value | None:
    return float(value) if isinstance(value, int | float) and value >= 1 else None


def _on(name: str) -> Convert:
    return lambda value: name if value is True else None


# keyword -> fact, unit, meaning of the value, and the default when it is absent (None: nothing is said then).
Table = Mapping[str, tuple[str, str, Convert, Value | None]]
_TRAINING_ARGUMENTS: Table = {
    "dataloader_num_workers": ("config.dataloader.num_workers", "{worker}", _same, 0),
    "dataloader_pin_memory": ("config.dataloader.pin_memory", _BOOL, _same, True),
    "dataloader_persistent_workers": ("config.dataloader.persistent_workers", _BOOL, _same, False),
    "dataloader_prefetch_factor": ("config.dataloader.prefetch_factor", "{batch}", _same, None),
    "per_device_train_batch_size": ("config.dataloader.batch_size", "{sample}", _same, None),
    "gradient_accumulation_steps": ("ml.gradient_accumulation.steps", "{step}", _same, None),
    "gradient_checkpointing": ("config.gradient_checkpointing", _BOOL, _same, None),
    "bf16": ("config.precision.compute", _STRING, _on("bf16"), None),
    "fp16": ("config.precision.compute", _STRING, _on("fp16"), None),
    "torch_compile": ("config.compile.enabled", _BOOL, _same, None),
    "logging_steps": ("config.logging.interval", _STEP, _interval, None),
    "optim": ("config.optimizer.implementation", _STRING, _fused, None),
    "full_determinism": ("config.deterministic", _BOOL, _same, None),
    "ddp_find_unused_parameters": ("config.ddp.find_unused_parameters", _BOOL, _same, None),
    "ddp_bucket_cap_mb": ("config.ddp.bucket_cap", "MiBy", _same, None),
}
_LIGHTNING: Table = {
    "precision": ("config.precision.compute", _STRING, _precision, None),
    "accumulate_grad_batches": ("ml.gradient_accumulation.steps", "{step}", _same, None),
    "strategy": ("config.distributed.strategy", _STRING, _strategy, None),
    "log_every_n_steps": ("config.logging.interval", _STEP, _interval, 50),
    "detect_anomaly": ("config.anomaly_mode", _BOOL, _same, None),
    "deterministic": ("config.deterministic", _BOOL, lambda v: v if isinstance(v, bool) else None, None),
    "benchmark": ("config.cudnn.benchmark", _BOOL, _same, None),
}
_DDP: Table = {
    "find_unused_parameters": ("config.ddp.find_unused_parameters", _BOOL, _same, False),
    "bucket_cap_mb": ("config.ddp.bucket_cap", "MiBy", _same, None),
}
_SWITCHES: Mapping[str, tuple[str, bool]] = {
    "torch.autograd.set_detect_anomaly": ("config.anomaly_mode", True),
    "torch.autograd.detect_anomaly": ("config.anomaly_mode", True),
    "torch.use_deterministic_algorithms": ("config.deterministic", True),
}
_ASSIGNED: Mapping[str, str] = {
    "torch.backends.cudnn.benchmark": "config.cudnn.benchmark",
    "torch.backends.cudnn.deterministic": "config.deterministic",
}
_STRATEGIES = {"DistributedDataParallel": "DDP", "FullyShardedDataParallel": "FSDP", "fully_shard": "FSDP"}
_DTYPES = {"torch.bfloat16": "bf16", "torch.float16": "fp16", "torch.half": "fp16"}


def settings(modules: Sequence[Module], values: Values) -> Iterator[Setting]:
    """Every setting that holds whatever the run does; what stands under a condition is left out."""
    for module in modules:
        for call in module.calls():
            found = list(_call(module, call, values))
            if found and module.unconditional(call):
                yield from found
        for node in module.walk():
            if isinstance(node, ast.Assign) and module.unconditional(node):
                yield from _assignment(module, node, values)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield from _decorated(module, node)


def gpu(modules: Sequence[Module]) -> Iterator[Setting]:
    """That the script computes on a GPU, when it names CUDA as a device anywhere: it is written for one."""
    for module in modules:
        for node in module.walk():
            text = node.value if isinstance(node, ast.Constant) else None
            named = isinstance(text, str) and (text == "cuda" or text.startswith("cuda:"))
            moved = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda"
            if (named or moved) and isinstance(node, ast.expr):
                yield Setting("run.gpu.used", True, _BOOL, module.where(node))
                return


def is_training_arguments(name: str) -> bool:
    """Whether a class takes the arguments of the Hugging Face Trainer."""
    last = name.rpartition(".")[2]
    return last.endswith("TrainingArguments") or (name.startswith("trl.") and last.endswith("Config"))


def _call(module: Module, call: ast.Call, values: Values) -> Iterator[Setting]:
    name = module.dotted(call.func)
    last = name.rpartition(".")[2]
    if is_training_arguments(name):
        yield from _table(module, call, values, _TRAINING_ARGUMENTS)
    elif last == "Trainer" and any(part in name for part in ("lightning", "pl.")):
        yield from _table(module, call, values, _LIGHTNING)
    elif last in _STRATEGIES and name.startswith("torch"):
        yield Setting("config.distributed.strategy", _STRATEGIES[last], _STRING, module.where(call))
        if last == "DistributedDataParallel":
            yield from _table(module, call, values, _DDP)
    elif name == "torch.nn.DataParallel":
        yield Setting("config.distributed.strategy", "DP", _STRING, module.where(call))
    else:
        yield from _switch(module, call, name, values)


def _switch(module: Module, call: ast.Call, name: str, values: Values) -> Iterator[Setting]:
    """Calls that switch one thing on or off."""
    where, argument = module.where(call), call.args[0] if call.args else None
    if name in _SWITCHES:
        fact, default = _SWITCHES[name]
        given = values.of(module, argument) if argument is not None else Known(default)
        if given and isinstance(given.value, bool):
            yield Setting(fact, given.value, _BOOL, where, given.via)
    elif name == "torch.compile":
        yield Setting("config.compile.enabled", True, _BOOL, where)
    elif name == "torch.set_default_dtype" and argument is not None:
        if module.dotted(argument) in ("torch.float64", "torch.double"):
            yield Setting("config.model.dtype", "float64", _STRING, where)
    elif name in ("torch.autocast", "torch.amp.autocast", "torch.cuda.amp.autocast"):
        yield from _autocast(module, call, where)
    elif name.startswith("torch.utils.checkpoint.") or name.endswith(".gradient_checkpointing_enable"):
        yield Setting("config.gradient_checkpointing", True, _BOOL, where)


def _autocast(module: Module, call: ast.Call, where: str) -> Iterator[Setting]:
    """The dtype of autocast, when it is written out and autocast cannot be off."""
    given = {k.arg: k.value for k in call.keywords}
    enabled = given.get("enabled")
    if None in given or (enabled is not None and not (isinstance(enabled, ast.Constant) and enabled.value is True)):
        return
    dtype = given.get("dtype")
    if dtype is not None and (short := _DTYPES.get(module.dotted(dtype))):
        yield Setting("config.precision.compute", short, _STRING, where)


def _table(module: Module, call: ast.Call, values: Values, table: Table) -> Iterator[Setting]:
    given = {k.arg: k.value for k in call.keywords}
    for keyword, (fact, unit, convert, default) in table.items():
        known = None if None in given else Known(default)  # **kwargs may hold it
        if keyword in given:
            known = values.of(module, given[keyword])
        value = None if known is None or known.value is None else convert(known.value)
        if value is not None and known is not None:
            yield Setting(fact, value, unit, module.where(call), known.via)


def _assignment(module: Module, node: ast.Assign, values: Values) -> Iterator[Setting]:
    name, given = module.dotted(node.targets[0]), values.of(module, node.value)
    if given is None:
        return
    where = module.where(node)
    if name in _ASSIGNED and isinstance(given.value, bool):
        yield Setting(_ASSIGNED[name], given.value, _BOOL, where, given.via)
    target = node.targets[0]
    if isinstance(target, ast.Subscript) and module.dotted(target.value) == "os.environ":
        key = target.slice.value if isinstance(target.slice, ast.Constant) else None
        if key == "CUDA_LAUNCH_BLOCKING":
            yield Setting("config.launch_blocking", given.value not in ("", "0"), _BOOL, where, given.via)


def _decorated(module: Module, node: ast.FunctionDef | ast.ClassDef) -> Iterator[Setting]:
    for decorator in node.decorator_list:
        if module.dotted(decorator) == "torch.compile":
            yield Setting("config.compile.enabled", True, _BOOL, module.where(decorator))
