"""Settings by name: precision, quantisation, optimizer, method, sharding, recomputation."""

from __future__ import annotations

from advisor.answer.sizing.formulas import BITS
from advisor.answer.sizing.inputs import Value
from advisor.answer.sizing.reader import Reader

_NOT = r"(?:no|without|w/o|disabled?|off|不开|不用|关闭?|没开|没有) ?"
_EIGHT = r"(?:fp8|int8|8[- ]?bit)"
# The first pattern of a key that matches decides, so the longer ways to say it come first.
_SETTINGS: tuple[tuple[str, str, Value], ...] = (
    ("kv", rf"{_EIGHT} ?kv(?:[ -]?cache)?|kv(?:[ -]?cache)?[ -]?(?:in |as |用|量化(?:到|为)? ?)?{_EIGHT}", 1.0),
    ("recompute", rf"{_NOT}(?:gradient |activation |梯度|激活)?(?:checkpointing|recomput\w*|检查点|重计算)", "no"),
    ("recompute", r"(?:gradient|activation) checkpoint(?:ing)?|recomput\w*|重计算|(?:梯度|激活)检查点", "yes"),
    ("flash", rf"{_NOT}flash ?-?(?:attention|attn)?|(?:eager|plain) attention", "no"),
    ("flash", r"flash ?-?(?:attention|attn)(?: ?2)?", "yes"),
    ("optimizer", r"(?:8[- ]?bit|bnb|paged)[- ]?adamw?(?:[-_ ]?8[- ]?bit)?", "adam8bit"),
    ("optimizer", r"adamw?[-_ ]?8[- ]?bit|8 ?位 ?adamw?", "adam8bit"),
    ("optimizer", r"sgd ?(?:\+|with|w/|带|加)? ?(?:momentum|动量)|momentum sgd", "momentum"),
    ("optimizer", r"\badamw?\b", "adamw"),
    ("optimizer", r"\bsgd\b", "sgd"),
    ("optimizer", r"\blion\b", "lion"),
    ("optimizer", r"\badafactor\b", "adafactor"),
    ("method", r"q-?lora", "qlora"),
    ("method", r"\blora\b", "lora"),
    ("method", r"full[- ]?(?:parameter|param|weight)?[- ]?(?:fine-?tun|train|sft|ft\b)\w*", "full"),
    ("method", r"全参数?(?:量)?(?:的)?(?:微调|训练)?|全量(?:微调|训练)", "full"),
    ("stage", r"\b(?:ddp|no zero)\b|zero[- ]?(?:stage[- ]?)?0", 0.0),
    ("stage", r"\bfsdp2?\b|zero[- ]?(?:stage[- ]?|dp[- ]?)?3|stage ?3", 3.0),
    ("stage", r"zero[- ]?(?:stage[- ]?)?2|stage ?2", 2.0),
    ("stage", r"zero[- ]?(?:stage[- ]?)?1|stage ?1", 1.0),
    ("precision", r"mixed[- ]precision|混合精度|\bamp\b", "mixed"),
    ("precision", r"pure[- ]?(?:bf16|bfloat16|fp16)|(?:bf16|bfloat16)[- ]?only|纯 ?(?:bf16|fp16|半精度)", "bf16"),
)
_FORMATS = (
    (r"(?:awq|gptq)(?:[- ]?(?:int)?4(?:[- ]?bit)?)?", "int4"),
    (r"\bnf4\b|bnb[- ]?4[- ]?bit", "nf4"),
    (r"\bmxfp4\b", "mxfp4"),
    (r"\bw?int[- ]?4|\bw4a\d+|4[- ]?bits?(?![a-z])|4 ?(?:比特|位)", "int4"),
    (r"\bint[- ]?8|\bw8a\d+|8[- ]?bits?(?![a-z])|8 ?(?:比特|位)", "int8"),
    (r"\bfp8(?![a-z])", "fp8"),
    (r"\b(?:fp16|bf16|bfloat16|half precision)(?![a-z])|半精度", "fp16"),
    (r"\b(?:fp32|float32|full precision)(?![a-z])|单精度", "fp32"),
    (r"\bgguf(?![a-z])", "q4_k_m"),
)


def read_settings(r: Reader) -> None:
    """Read every setting that the text names."""
    for key, pattern, value in _SETTINGS:
        if key not in r.values and r.take(pattern):
            r.values[key] = value
    if match := r.take(r"(?<![a-z0-9])(q[2-8]_(?:k_[msl]|k|0))(?![a-z0-9])"):
        written = match[1] if match[1] in BITS else f"{match[1]}_m"
        if written in BITS:
            r.values["quant"] = written
    for pattern, name in _FORMATS:
        if "quant" not in r.values and r.take(pattern):
            r.values["quant"] = name
