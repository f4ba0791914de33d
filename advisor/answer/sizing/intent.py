"""Which calculation a message asks for: only when it asks for a number, and never when it asks for a cause."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from advisor.answer.sizing.inputs import Value


def _any(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.ASCII)  # \b must see an edge between "lora" and "微调"


# "Will it run out of memory?" asks whether it fits; "it runs out of memory" tells of a failure.
_WOULD_FAIL = _any(
    r"\b(?:will|would|does|do|going to|without|avoid)\b[^?.;,]{0,30}?(?:\boom\b|out of memory)",
    r"(?:会不会|是否会?|会|不|避免)(?:oom|爆显存|爆|显存溢出|out of memory)",
)
_CAUSE = _any(
    r"\b(?:why|how come|caus(?:e[sd]?|ing)|errors?|traceback|exception|crash\w*|fail(?:s|ed|ing)|stuck)\b",
    r"\bhang(?:s|ing)?\b",
    r"\b(?:slow(?:er|ly|ness)?|drop(?:s|ped)?|out of memory|oom\w*|idle|wrong|improve|speed ?up|faster|low)\b",
    r"(?<!all-)(?<!all )\breduce\b",
    r"\bbut (?:it|the|only|my)\b|(?<!do )\bi get\b|\bi (?:got|see|am getting)\b|\btakes? too\b|\bleak",
    r"为什么|为何|为啥|怎么回事|什么原因|咋|报错|错误|崩|失败|卡住|卡死|(?:太|很|变|偏|好|这么)慢|慢了",
    r"爆了|爆显存|溢出|只有|偏低|很低|提升|优化(?!器)|加速|泄漏",
)
_HOW_TO = _any(
    r"\bhow (?:do|can|should|could|would) (?:i|we|you|one)\b|\bhow to\b|\bdifference\b|\bexplain\b",
    r"\bwhat (?:is|are|does) (?:a |the |an )?(?:kv|mfu|zero|lora|qlora|pipeline|ring|all-?reduce|checkpoint)\b"
    r"(?! (?:of|for|size|cache (?:of|for|size)|time|bubble|at|on|with)|:)",
    r"如何|怎么(?!算)|怎样|教程|区别|什么是|是什么",
)
_FIT = _any(
    r"\b(?:fits?|fitting|enough|possible|feasible)\b|would fail",
    r"\b(?:can|could|will|would|does|do|is|are)\b[^?]*\b(?:fit|run|train|tune|fine-?tune|load|serve|host|deploy|hold)\b",
    r"能(?:不能|否|够)?[^?？]{0,20}(?:跑|放|装|训|微调|加载|部署|推理|塞|lora|qlora|全参)",
    r"(?:跑|放|装|塞|带|训|吃)(?:得|不)?(?:下|动|起来)|够(?:吗|不够|么|用|不)|够[^?？,，]{1,8}吗",
    r"可以[^?？]{0,16}(?:跑|训|微调|部署|吗)|可行|行吗|跑吗|能行",
)
_HOW_MUCH = _any(
    r"\bhow (?:much|many|big|large)\b[^?]*\b(?:memory|vram|gpus?|ram|hbm|cards?|gb|[ah]100s?|4090s?)\b",
    r"\b(?:memory|vram)\b[^?]*\b(?:requirements?|needed|required|footprint|need|for|usage|estimate)\b",
    r"\b(?:largest|max(?:imum)?|biggest) (?:micro ?-?)?batch|\bestimate\b[^?]*\b(?:memory|vram)\b",
    r"\b(?:what|which) gpu|\bwhat (?:max(?:imum)? )?batch(?: size)? (?:can|fits|will)",
    r"多少(?:个|张|块)?[^,，。?？]{0,4}(?:显存|内存|卡|gpu|g\b|显卡)|显存(?:要|需要|占用?|多少|估算|需求|怎么算)",
    r"需要[^,，。?？]{0,10}(?:显存|多大|几张|多少)|几张|几块|最大[^,，。?？]{0,6}batch|占多少",
    r"多大(?:的)?(?:显存|显卡)",
)
_CAPACITY = _any(
    r"\bhow many\b[^?]*\b(?:requests?|sequences?|users?|streams?|conversations?)\b|\blongest context",
    r"\bmax(?:imum)? (?:concurren\w+|context|batch|sequence)|\bhow long (?:a |can the )?(?:context|sequence)",
    r"多少(?:个|路)?(?:并发|请求|用户|序列)|最大并发|并发(?:能|最多|数|上限)",
    r"最长[^,，。?？]{0,6}(?:上下文|序列|长度)|最大(?:上下文|长度)|(?:上下文|序列)[^,，。?？]{0,6}(?:最长|多长)|多长的?(?:上下文|序列)",
)
_TRAINING = _any(
    r"\btrain(?:ing|ed)?\b|fine-?tun|finetun|\bsft\b|\bdpo\b|\bppo\b|pre-?train|\bgradients?\b|\boptimi[sz]er",
    r"微调|训练|训得|训 ?\d|能训|全参|全量|优化器|梯度",
)
_SIZE = _any(
    r"\bhow (?:big|large|much)\b|\bsize\b|\bper token\b|\bof\b|\bfor\b",
    r"多大|多少|大小|占|计算|估算|算一下|需要",
)
_DURATION = _any(
    r"\bhow (?:long|many (?:days|hours|gpu)|much)\b|\b(?:time|takes?|duration|gpu[- ]?hours?|cost|seconds)\b",
    r"多久|多长时间|耗时|多少天|几天|多少小时|多少秒|几秒|多少钱|成本|卡时|需要多|时间",
)
_EXCHANGE = _any(
    r"all-?reduce|gradients? (?:sync|exchange|communication)|sync\w* (?:the )?gradients?|exchange (?:the )?gradients?",
    r"梯度(?:同步|通信|交换)|同步[^,，]{0,6}梯度",
)
_SAVED = _any(r"\b(?:checkpoints?|ckpts?)\b", r"检查点|断点|存档")
_SAVING = _any(
    r"\bhow (?:big|large|long|often|much)\b|\bsize\b|\binterval\b|write time|save time",
    r"多大|多久|间隔|多长时间|频率|多少|大小",
)
_MOST = r"(?:max|theor|upper|limit|bound|best|expect|理论|上限|最快|最多|极限|多少|多快|能到)"
_GENERATES = r"(?:\btok(?:en)?s?/s|\btps\b|\btokens? (?:per|a) second|decod\w*|generat\w*|生成|解码|吐字|速度)"
_SPEED = _any(
    rf"{_GENERATES}[^?]*{_MOST}|{_MOST}[^?]*{_GENERATES}|每秒[^?]*(?:token|字)",
    r"how fast[^?]*(?:decode|generate|run|output)|how many tokens (?:per|a|/) ?s",
)


def _has(plain: str, pattern: str) -> bool:
    return re.search(pattern, plain, re.ASCII) is not None


def _mfu(plain: str, v: Mapping[str, Value]) -> bool:
    return "tokens_per_second" in v and _has(plain, r"\bmfu\b|flops? utili[sz]ation|算力利用率")


def _workers(plain: str, v: Mapping[str, Value]) -> bool:
    timed = "step_time" in v and ("load_time" in v or ("sample_time" in v and "batch" in v))
    counted = r"\bhow many\b|\bneed|\benough\b|多少|几个|需要|够|设"
    return timed and _has(plain, r"workers?\b|进程") and _has(plain, counted)


def _bubble(plain: str, v: Mapping[str, Value]) -> bool:
    return "stages" in v and _has(plain, r"\bbubbles?\b|气泡|空泡")


def _all_reduce(plain: str, v: Mapping[str, Value]) -> bool:
    return bool(_EXCHANGE.search(plain) and _DURATION.search(plain)) and _sized(v, "bytes")


def _checkpoint(plain: str, v: Mapping[str, Value]) -> bool:
    other = r"(?:gradient|activation) checkpoint"
    asked = bool(_SAVED.search(plain) and _SAVING.search(plain))
    return asked and not _has(plain, other) and _sized(v, "bytes")


def _kv_cache(plain: str, v: Mapping[str, Value]) -> bool:
    asked = bool(_SIZE.search(plain)) or "seq" in v or "batch" in v
    return _has(plain, r"\bkv[ -]?(?:cache|缓存)") and asked and _sized(v) and not ("gpu" in v or "memory" in v)


def _training_time(plain: str, v: Mapping[str, Value]) -> bool:
    return "tokens" in v and _sized(v) and bool(_DURATION.search(plain)) and bool(_TRAINING.search(plain))


def _decode(plain: str, v: Mapping[str, Value]) -> bool:
    return bool(_SPEED.search(plain)) and _sized(v) and "tokens_per_second" not in v


def _training_memory(plain: str, v: Mapping[str, Value]) -> bool:
    trains = bool(_TRAINING.search(plain)) or bool({"method", "optimizer", "stage"} & v.keys())
    return trains and _inference_memory(plain, v)


def _inference_memory(plain: str, v: Mapping[str, Value]) -> bool:
    asked = bool(_HOW_MUCH.search(plain)) or (bool(_CAPACITY.search(plain) or _FIT.search(plain)) and _holds(v))
    return asked and _sized(v) and "link" not in v


def _sized(v: Mapping[str, Value], *others: str) -> bool:
    return any(key in v for key in ("model", "params", *others))


def _holds(v: Mapping[str, Value]) -> bool:
    return any(key in v for key in ("gpu", "memory", "gpus"))


_KINDS: tuple[tuple[str, Callable[[str, Mapping[str, Value]], bool]], ...] = (
    ("mfu", _mfu),
    ("loader_workers", _workers),
    ("pipeline_bubble", _bubble),
    ("all_reduce", _all_reduce),
    ("checkpoint", _checkpoint),
    ("kv_cache", _kv_cache),
    ("training_time", _training_time),
    ("decode_speed", _decode),
    ("training_memory", _training_memory),
    ("inference_memory", _inference_memory),
)
_FRAGMENT = _any(
    r"^(?:and|what about|how about|what if|with|on|but with|then|now|same|instead|for|in|using)\b",
    r"^(?:那|那么|如果|换成|换|改成|改|用|再|要是|加上|加|开|\d)|呢[?？]?$|^[a-z0-9.-]+ ?[?？]",
)
MAX_FRAGMENT = 60  # characters; more is a question of its own


def kind_of(plain: str, values: Mapping[str, Value]) -> str:
    """The calculation that is asked for, "" for none."""
    asked = _WOULD_FAIL.sub(" would fail ", plain)
    if _CAUSE.search(asked) or _HOW_TO.search(asked):
        return ""
    return next((kind for kind, asks in _KINDS if asks(asked, values)), "")


def is_fragment(plain: str) -> bool:
    """Whether the words only change the inputs of the calculation before: "and on 8 GPUs?", "换成 lora 呢"."""
    short = len(plain) <= MAX_FRAGMENT and bool(_FRAGMENT.search(plain))
    return short and not _CAUSE.search(plain) and not _HOW_TO.search(plain)
