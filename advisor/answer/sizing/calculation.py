"""A message -> a calculation, or None when it asks for none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from advisor.answer.sizing.inference import inference_memory, kv_cache
from advisor.answer.sizing.inputs import HARDWARE, Inputs, Value
from advisor.answer.sizing.intent import is_fragment, kind_of
from advisor.answer.sizing.moving import all_reduce, bubble, checkpoint, loader_workers
from advisor.answer.sizing.sheet import Calculation, Sheet
from advisor.answer.sizing.speed import decode_speed, mfu, training_time
from advisor.answer.sizing.training import training_memory
from advisor.answer.sizing.words import read
from advisor.models import Lang

_CALCULATORS: Mapping[str, Callable[[Sheet], Calculation]] = {
    "training_memory": training_memory,
    "inference_memory": inference_memory,
    "kv_cache": kv_cache,
    "mfu": mfu,
    "decode_speed": decode_speed,
    "training_time": training_time,
    "loader_workers": loader_workers,
    "all_reduce": all_reduce,
    "pipeline_bubble": bubble,
    "checkpoint": checkpoint,
}
KINDS = tuple(_CALCULATORS)
# What each kind rests on, of references.yaml.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "training_memory": ("zero", "reducing-activation-recomputation", "ml-engineering-accelerators"),
    "inference_memory": ("pagedattention-vllm", "ml-engineering-accelerators"),
    "kv_cache": ("pagedattention-vllm",),
    "mfu": ("scaling-laws-flops", "ml-engineering-accelerators"),
    "decode_speed": ("ml-engineering-accelerators", "ml-engineering-inference"),
    "training_time": ("scaling-laws-flops", "ml-engineering-accelerators"),
    "loader_workers": ("torch-utils-data",),
    "all_reduce": ("nccl-tests-bus-bandwidth-definition", "ml-engineering-networking-hardware"),
    "pipeline_bubble": ("efficient-large-scale-lm-training-on-gpu-cluster",),
    "checkpoint": ("zero", "young-checkpoint-interval"),
}
MAX_ASKED = 600  # characters; longer messages tell a story or hold a paste, and numbers in them are not inputs
_LEAST = 1e-9
# Beyond these a number is a slip of the keyboard: parameters, GPUs, GiB, tokens of context, sequences.
_MOST = {
    "params": 1e14,
    "gpus": 1e6,
    "memory": 2048.0,
    "seq": 1e8,
    "batch": 1e6,
    "stages": 1e4,
    "mfu": 1.0,
    "rank": 1e5,
}


def parse(plain: str) -> Inputs:
    """The kind of calculation that a normalised message asks for, and every input that it states."""
    values = read(plain)
    return Inputs(kind_of(plain, values), values)


def calculation(plain: str, lang: Lang, carried: Mapping[str, Value] | None = None) -> Calculation | None:
    """The calculation that a message asks for; None when it asks for none.

    `plain` is normalised as by `understand.normalise`; `carried` is `Calculation.known` of the calculation before in
    the conversation, which a fragment such as "and on 8 GPUs?" changes.
    """
    if len(plain) > MAX_ASKED:
        return None
    own = parse(plain)
    if carried and not own.kind:  # "will it fit" may leave out the hardware that was stated before
        hardware = {key: carried[key] for key in HARDWARE if key in carried}
        own = Inputs(kind_of(plain, {**hardware, **own.values}) if own.values else "", own.values)
    if not own.kind and not (carried and own.values and is_fragment(plain)):
        return None
    inputs = own.merged(carried or {})
    if inputs.kind == "inference_memory" and {"method", "optimizer", "stage"} & own.values.keys():
        inputs = Inputs("training_memory", inputs.values)
    sheet = Sheet(inputs, own.values, lang)
    return _refused(sheet, inputs) or _CALCULATORS[inputs.kind](sheet)


def _refused(sheet: Sheet, inputs: Inputs) -> Calculation | None:
    """One sentence when an input cannot be: nothing, or far more than there is."""
    for key, value in inputs.values.items():
        if key == "stage" or isinstance(value, str):
            continue
        if value < _LEAST or value > _MOST.get(key, float("inf")):
            return sheet.refuse(
                f"I cannot calculate with {value:g} for {_NAMES.get(key, (key, key))[0]}; check the number.",
                f"{_NAMES.get(key, (key, key))[1]}为 {value:g}，无法计算，请检查数字。",
            )
    return None


_NAMES = {
    "params": ("the number of parameters", "参数量"),
    "gpus": ("the number of GPUs", "GPU 数量"),
    "memory": ("the memory of a GPU in GiB", "显存（GiB）"),
    "seq": ("the sequence length", "序列长度"),
    "batch": ("the batch size", "批大小"),
    "stages": ("the pipeline stages", "流水线级数"),
    "mfu": ("the MFU", "MFU"),
    "step_time": ("the time of a step", "每步时间"),
    "load_time": ("the time to load", "加载时间"),
    "tokens": ("the number of tokens", "token 数"),
    "tokens_per_second": ("the tokens per second", "tokens/s"),
    "write_rate": ("the write bandwidth", "写入带宽"),
    "link_rate": ("the rate of the link", "链路带宽"),
    "microbatches": ("the micro-batches", "微批数"),
    "nodes": ("the number of hosts", "主机数"),
    "rank": ("the rank of LoRA", "LoRA 的秩"),
}
