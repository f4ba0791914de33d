"""The run that a message is about: phase, framework, GPU model, whether a GPU computes at all."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SERVING = re.compile(
    r"\b(?:vllm|sglang|tgi|text-generation-inference|trt-?llm|tensorrt-llm|triton (?:inference )?server|ollama|"
    r"llama-server|"
    r"serv(?:e|es|ing)|ttft|tpot|inference server|concurrent (?:users|requests)|qps|deploy(?:ed|ment)?|endpoint)\b"
    r"|推理服务|在线推理|并发请求|部署|首 ?(?:token|字)|线上服务"
)
_TRAINING = re.compile(
    r"\b(?:train(?:ing|s|ed|er)?|pre-?train\w*|fine-?tun\w+|finetun\w+|epochs?|backward|lora|sft|backprop\w*|ddp|fsdp|"
    r"gradient accumulation|optimizer\.step)\b|训练|训(?:了|个|得)|微调|预训练|跑一?个?epoch|反向传播"
)
_INFERENCE = re.compile(
    r"\b(?:inference|model\.generate|generat(?:e|ion|ing)|predict(?:ion|ing)?|decod(?:e|ing))\b|推理|预测|生成速度"
)
_FRAMEWORKS = (
    ("vllm", r"vllm"), ("sglang", r"sglang"), ("tgi", r"tgi|text-generation-inference"),
    ("trtllm", r"trt-?llm|tensorrt-?llm"), ("llama.cpp", r"llama\.?cpp|llama-server|llama-cli|llama-bench"),
    ("ollama", r"ollama"), ("triton", r"triton (?:inference )?server|tritonserver"),
    ("tensorflow", r"tensorflow|keras|tf\.data|tf2"), ("jax", r"jax|flax|maxtext"),
    ("pytorch", r"py ?torch|torch|lightning|transformers|accelerate|deepspeed|megatron(?:-lm)?|huggingface trainer|"
                r"llama-?factory|trl|axolotl|unsloth|yolo(?:v\d+)?|ultralytics|mmdetection|mmdet|dataloader|"
                r"num_workers"),
)  # fmt: skip
_FRAMEWORK = re.compile(
    "(?<![a-z0-9_])(?=[a-z])(?:"
    + "|".join(f"(?P<f{i}>{words})" for i, (_, words) in enumerate(_FRAMEWORKS))
    + ")(?![a-z0-9])"
)
_SERVERS = frozenset(["vllm", "sglang", "tgi", "trtllm", "llama.cpp", "ollama", "triton"])

_MODEL = re.compile(
    r"(?<![a-z0-9_])(?:(?:nvidia|geforce|tesla|quadro)[ -]?)?(?:"
    r"(?P<data>gh200|gb200|b200|b100|h200|h100|h800|h20|a100|a800|a40|a30|a10g?|l40s?|l20|l4|v100|p100|p40|p4|t4|"
    r"k80|m60|mi300x?|mi250x?|mi210|910b)"
    r"|rtx[ -]?(?:pro )?(?P<rtx>a?\d{4})(?:[ -]?(?P<rtx2>ti super|ti|super|d))?(?: ?(?P<ada>ada))?"
    r"|gtx[ -]?(?P<gtx>\d{3,4})(?:[ -]?(?P<gtx2>ti|super))?"
    r"|(?P<bare>(?:50[5-9]0|40[5-9]0|30[5-9]0|20[6-8]0|10[5-8]0))(?:[ -]?(?P<bare2>ti super|ti|super|d))?(?=$|"
    r"[^\d.%a-z]|s\b|gb?\b)"
    r")(?:[ -]?(?P<form>sxm\d?|pcie|nvl))?(?:[ -]?(?P<size>\d{2,3}) ?gb?(?![a-z/]))?(?![a-z0-9]*[a-rt-z])"
)
_NOT = re.compile(
    r"\b(?:instead of|rather than|not|than|vs\.?|versus|from|replaced|like)(?: the| an?| my| our| on)*[ ]?$|"
    r"(?:而不是|比|替代|不是)[ ]?$"
)
_FEW = {"one": 1, "single": 1, "two": 2, "three": 3, "four": 4, "six": 6, "eight": 8, "sixteen": 16, "单": 1, "双": 2,
        "一": 1, "两": 2, "四": 4, "八": 8}  # fmt: skip
_COUNTED = re.compile(
    r"(?<![\d.])(?P<n>\d{1,4}|one|single|two|three|four|six|eight|sixteen|[单双一两四八](?=[张块卡]))[ ]?(?:[x×*]|"
    r"张|块|个|卡)?[ ]?(?:nvidia |geforce |tesla )?$"
)
_COUNT_AFTER = re.compile(r"^s?[ ]?[x×*][ ]?(?P<n>\d{1,3})(?![\d.])")
_GPU_ON = re.compile(
    r"\b(?:on|using|uses|with) (?:a |an |the |my |our |one |single |\d+ ?x? ?|multiple |two |four |"
    r"eight )*(?:nvidia |rtx |geforce |tesla )*(?:gpus?\b|\S{0,4}[avhlbtpk]\d{2,3}|\d{4})"
    r"|(?:用|在)[^,]{0,8}(?:gpu|显卡|卡)[^,]{0,3}(?:上|跑|训)"
)
_GPU_OFF = re.compile(
    r"\b(?:cpu[- ]only|no gpus?\b(?! util| usage| mem)|without (?:a |any )?gpus?\b|(?:runs?|running|train(?:s|"
    r"ing)?|stays?|falls? back|inference) (?:only |entirely |just )?on (?:the |my )?cpu\b"
    r"|don't have (?:a |any )?gpu|(?:cuda|torch\.cuda)\.is_available\(\)(?: is| returns?|=+)? ?false)"
    r"|没有?(?:gpu|显卡)(?!利|占|使|的|显|内|空)|纯cpu|只用cpu|跑在cpu|在cpu上(?:跑|训|推)|无(?:gpu|显卡)"
)


def phase(lower: str) -> str | None:
    """Training, inference or serving, where the words leave no doubt."""
    serving, training = _SERVING.search(lower), _TRAINING.search(lower)
    if serving and training:
        return None
    if serving:
        return "serving"
    if training:
        return "training"
    return "inference" if _INFERENCE.search(lower) else None


def framework(lower: str) -> str | None:
    """The framework or server; of a server and the library below it the server, of two others none."""
    found = {_FRAMEWORKS[int((m.lastgroup or "f0")[1:])][0] for m in _FRAMEWORK.finditer(lower)}
    servers = found & _SERVERS
    chosen = servers or found
    return next(iter(chosen)) if len(chosen) == 1 else None


def gpu_used(lower: str) -> bool | None:
    """Whether a GPU computes, where it is said."""
    if _GPU_OFF.search(lower):
        return False
    return True if _GPU_ON.search(lower) else None


def models(lower: str) -> Iterator[tuple[str, float | None, float | None, int, int]]:
    """GPU models in a clause: name, number of them, memory in bytes where the name says it, start and end."""
    for match in _MODEL.finditer(lower):
        before = lower[max(0, match.start() - 22) : match.start()]
        if _NOT.search(before):
            continue
        count = _COUNTED.search(before)
        after = _COUNT_AFTER.match(lower[match.end() : match.end() + 6])
        said = (count or after or {"n": ""})["n"]
        many = float(_FEW.get(said) or said) if said else None
        size = float(match["size"]) * 2.0**30 if match["size"] and float(match["size"]) >= 8 else None
        start = match.start() - (len(count[0]) if count else 0)
        yield _name(match), many, size, start, match.end() + (len(after[0]) if after else 0)


def _name(match: re.Match[str]) -> str:
    if match["data"]:
        name = match["data"].upper()
        return "MI300X" if name.startswith("MI300") else name
    number = match["rtx"] or match["gtx"] or match["bare"]
    suffix = match["rtx2"] or match["gtx2"] or match["bare2"]
    series = "GTX" if match["gtx"] or number.startswith("10") else "RTX"
    more = {"ti super": " Ti SUPER", "ti": " Ti", "super": " SUPER", "d": " D"}.get(suffix or "", "")
    return f"{series} {number.upper()}{more}{' Ada' if match['ada'] else ''}"
