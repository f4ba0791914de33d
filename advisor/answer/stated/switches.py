"""What is stated without an amount: settings that are on or off, precisions, strategies, file systems."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from advisor.models import Value

Row = tuple[str, Value, str]
_ON = re.compile(
    r"^[\W_]{0,3}(?:is |was |are |parameter |set |to |=|turned |参数|已经?|都|也|设为|设置为|是){0,4}"
    r"(?:true|on(?![a-z])|enabled|yes|1(?!\d)|开(?!销)|打开|开启|启用|开了|用了)"
)
_OFF = re.compile(
    r"^[\W_]{0,3}(?:is |was |are |parameter |set |to |=|turned |参数|已经?|都|也|设为|设置为|是){0,4}"
    r"(?:false|off(?![a-z])|disabled|not (?:enabled|set|used|on)|isn't (?:enabled|set|on)|none|0(?![\d.])|关|"
    r"没(?:有)?(?:开|用|设|加)|未(?:开|启用|使用)|不开|没开)"
)
_ON_BEFORE = re.compile(
    r"(?:(?<!not )(?<!n't )(?:with|using|use|uses|enabled?|have|turned on|set)|(?<!没)(?<!未)(?<!有)(?:开了|"
    r"开启了?|打开了?|启用了?|用了|使用了?|加了|用的是?))"
    r"(?: the| a)?[ ]?$"
)
_OFF_BEFORE = re.compile(
    r"(?:without|not using|not use|don't use|didn't (?:use|enable|set)|haven't (?:enabled|set)|disabled?|"
    r"turned off|(?<!there's )(?<!there is )no"
    r"|没(?:有)?(?:开启?|用|设置?|加|使用)|没|未(?:开启?|使用|启用)|不开|不用|关了|关闭了?|关掉了?|"
    r"禁用了?)(?: the| any)?[ ]?$"
)
_REACH = 26

_B, _S = "{bool}", "{string}"
# The name of a switch, the fact, and what it is when on and when off; None says nothing.
SWITCHES: tuple[tuple[str, str, Value | None, Value | None, str], ...] = (
    (r"pin[_ -]?mem(?:ory)?|pinned memory|锁页内存", "config.dataloader.pin_memory", True, False, _B),
    (r"persistent[_ -]?workers?", "config.dataloader.persistent_workers", True, False, _B),
    (r"torch[._ ]?compile|compile mode", "config.compile.enabled", True, False, _B),
    (r"(?:gradient|activation|grad|act)[_ -]?(?:check ?point(?:ing)?|ckpt|recomput\w*)|梯度检查点|激活重计算|"
     r"重计算|激活检查点",
     "config.gradient_checkpointing", True, False, _B),
    (r"cudnn[._ ]?benchmark", "config.cudnn.benchmark", True, False, _B),
    (r"(?:use_)?deterministic(?:[_ ]algorithms)?(?: mode)?|确定性算法", "config.deterministic", True, False, _B),
    (r"(?:detect[_ ]anomaly|anomaly (?:detection|mode)|异常检测)", "config.anomaly_mode", True, False, _B),
    (r"cuda_launch_blocking", "config.launch_blocking", True, False, _B),
    (r"find[_ ]unused[_ ]param\w*", "config.ddp.find_unused_parameters", True, False, _B),
    (r"(?:cpu|optimi[sz]er|zero)[_ -]?offload(?:ing)?|offload(?:ing|ed)? (?:to )?(?:the )?cpu|"
     r"offload到cpu", "config.offload", True, False, _B),
    (r"enforce[_ -]?eager", "config.enforce_eager", True, False, _B),
    (r"(?:enable[_ -])?prefix[_ -]?caching|前缀缓存", "config.prefix_caching", True, False, _B),
    (r"tf32|allow_tf32", "config.precision.compute", "tf32", None, _S),
    (r"amp|mixed precision|autocast|混合精度", "config.precision.compute", None, "fp32", _S),
    (r"mig(?: mode)?", "hw.gpu.mig.mode", True, False, _B),
    (r"persistence mode", "hw.gpu.persistence_mode", True, False, _B),
    (r"fused (?:adamw?|optimi[sz]er)|fused=true", "config.optimizer.implementation", "fused", None, _S),
)  # fmt: skip
_SWITCH = re.compile("(?<![a-z0-9_])(?:" + "|".join(f"(?P<s{i}>{s[0]})" for i, s in enumerate(SWITCHES)) + ")")

# Words that are facts wherever they stand as a statement: fact, unit and what each means.
WORDS: tuple[tuple[str, str, tuple[tuple[str, Value], ...]], ...] = (
    ("config.precision.compute", _S, (
        (r"bf16|bfloat16", "bf16"), (r"fp16|float16|half[- ]precision|半精度", "fp16"), (r"fp8\b", "fp8"),
        (r"fp32|float32|full[- ]precision|single precision|单精度|全精度", "fp32"), (r"fp64|float64|双精度", "fp64"))),
    ("config.distributed.strategy", _S, (
        (r"fsdp2?|fullyshardeddataparallel|fully sharded", "FSDP"),
        (r"zero[ -_]?(?:stage[ _-]?)?3|"
         r"stage[ _-]?3", "ZeRO-3"), (r"zero[ -_]?(?:stage[ _-]?)?2|stage[ _-]?2", "ZeRO-2"),
        (r"zero[ -_]?(?:stage[ _-]?)?1(?!\d)|stage[ _-]?1(?!\d)", "ZeRO-1"),
        (r"ddp|distributeddataparallel|distributed data parallel", "DDP"),
        (r"nn\.dataparallel|dataparallel|(?<!distributed )(?<!sharded )data ?parallel(?=\()|\bdp模式", "DP"))),
    ("config.optimizer", _S, (
        (r"8[- ]?bit[ _-]?adamw?|adamw?[_ -]?8bit", "AdamW8bit"), (r"adamw", "AdamW"), (r"adam(?![a-z])", "Adam"),
        (r"sgd", "SGD"), (r"adafactor", "Adafactor"), (r"lion(?: optimizer|优化器)", "Lion"))),
    ("config.quantization", _S, (
        (r"awq", "awq"), (r"gptq", "gptq"), (r"load_in_8bit|llm\.int8|8[- ]?bit (?:quant\w*|model)", "bitsandbytes"),
        (r"load_in_4bit|nf4|bnb|bitsandbytes|qlora", "bitsandbytes"), (r"w8a8|int8", "int8"), (r"int4|w4a16", "int4"),
        (r"gguf|q[2-8]_(?:k|0|1)(?:_[sml])?", "gguf"))),
    ("system.filesystem.type", _S, (
        (r"nfs", "nfs"), (r"lustre", "lustre"), (r"gpfs|spectrum scale", "gpfs"), (r"beegfs", "beegfs"),
        (r"s3fs", "fuse.s3fs"), (r"gcsfuse", "fuse.gcsfuse"), (r"juicefs", "fuse.juicefs"), (r"ossfs", "fuse.ossfs"),
        (r"goofys", "fuse.goofys"), (r"sshfs", "fuse.sshfs"), (r"blobfuse2?", "fuse.blobfuse2"),
        (r"mountpoint[- ](?:for[- ])?s3", "fuse.mountpoint-s3"), (r"cephfs|"
         r"ceph", "ceph"), (r"ext4", "ext4"), (r"xfs", "xfs"))),
    ("system.disk.type", _S, (
        (r"nvme", "nvme"), (r"hdd|spinning (?:disk|rust|drive)s?|mechanical (?:disk|drive)s?|hard (?:disk|"
                            r"drive)s?|机械(?:硬)?盘|sata盘",
         "hdd"), (r"(?:sata )?ssds?|固态(?:硬盘)?", "ssd"))),
    ("config.attention.backend", _S, (
        (r"flash[- _]?attn?(?:ention)?(?:[- _]?[23])?", "flash"), (r"xformers", "xformers"), (r"math (?:backend|"
                                                                                              r"kernel)", "math"))),
    ("comm.backend", _S, ((r"gloo", "gloo"), (r"nccl backend|backend ?[=:]? ?\W?nccl|nccl后端", "nccl"))),
)  # fmt: skip
_WORD = re.compile(
    "(?<![a-z0-9_.-])(?=[a-z0-9]|[^\\x00-\\x7f])(?:"
    + "|".join(
        f"(?P<w{i}_{j}>{words})" for i, (_, _, options) in enumerate(WORDS) for j, (words, _) in enumerate(options)
    )
    + ")(?![a-z0-9])"
)
# A word in a clause that denies it, or that compares it with another, states nothing.
_DENIED = re.compile(
    r"(?:n't|not|no|without|instead of|rather than|than|or|vs\.?|versus|from|to|like|没(?:有)?用?|不是|不用|"
    r"而不是|还是|或者?|和|比|改用|换成?|"
    r"从|到)(?: the| a| an| using| use| on)?[ ]?$"
)
_DENIED_AFTER = re.compile(
    r"^(?:[ ]?(?:or|vs\.?|versus|/|还是|或|和.{0,8}(?:区别|对比|哪个))|\?| is slower| faster| 比)"
)

# Patterns with amounts inside names, where words and number are one.
_PARALLEL = re.compile(r"(?<![a-z0-9_])(?P<what>tp|pp|cp)[ _]?(?:size)?[ ]?[=:]?[ ]?(?P<n>\d{1,3})(?![\d.a-z%])")
_PARALLEL_FACT = {
    "tp": ("config.tensor_parallel.size", "{gpu}"),
    "pp": ("config.pipeline.stages", "{stage}"),
    "cp": ("config.context_parallel.size", "{gpu}"),
}
_PCIE = re.compile(
    r"pci-?e?(?: ?(?:gen ?)?(?P<gen>[1-6])(?:\.0)?)?(?: ?(?:gen ?(?P<gen2>[1-6])))?[ @,]{0,3}(?:at |only |只有|"
    r"跑在|运行在|降到)?[ ]?[x×](?P<width>1|2|4|8|16)\b"
)
_ETHERNET = re.compile(
    r"(?<![\d.])(?P<n>\d{1,3}) ?(?:gb?e\b|g(?:bit)? ?(?:ethernet|以太网?|网卡|光口|网口))|(?P<zh>千兆|万兆)(?!卡死)"
)
_TOPOLOGY = re.compile(r"topo\w*.{0,40}?\b(?P<path>sys|phb|node|pxb|pix|nv\d{1,2})\b")
_NVLINK = re.compile(
    r"(?<!no )(?<!without )(?<!not )(?<!没有)(?<!没)(?<!无)(?:with|have|has|via|over|connected (?:by|with|via)|有|"
    r"带|支持|走)[ ]?(?:the )?nvlink"
)
_VERSION = re.compile(
    r"(?<![a-z0-9])(?<!install )(?P<what>py ?torch|torch|python|cudnn|nccl|(?:nvidia )?driver(?: version)?|"
    r"驱动(?:版本)?)[ =:v]{0,4}"
    r"(?P<v>\d{1,3}\.\d{1,3}(?:\.\d{1,3})?)(?![\d%])(?! ?(?:gb?|ms|s|h|it)\b)"
)
_VERSION_FACT = {"torch": "config.torch.version", "pytorch": "config.torch.version", "python": "config.python.version",
                 "cudnn": "config.cudnn.version", "nccl": "comm.nccl.version"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    """A row with whether it is a setting, which a question only names."""

    row: Row
    setting: bool


def switches(lower: str) -> Iterator[Said]:
    """What a clause states without an amount of its own."""
    yield from _switched(lower)
    yield from _worded(lower)
    yield from _joined(lower)


def _switched(lower: str) -> Iterator[Said]:
    for match in _SWITCH.finditer(lower):
        _, fact, on, off, unit = SWITCHES[int((match.lastgroup or "s0")[1:])]
        before, after = lower[max(0, match.start() - _REACH) : match.start()], lower[match.end() : match.end() + _REACH]
        if _OFF_BEFORE.search(before) or _OFF.match(after):
            value = off
        elif _ON_BEFORE.search(before) or _ON.match(after):
            value = on
        else:
            continue
        if value is not None:
            yield Said((fact, value, unit), True)


def _worded(lower: str) -> Iterator[Said]:
    for match in _WORD.finditer(lower):
        before, after = lower[max(0, match.start() - _REACH) : match.start()], lower[match.end() : match.end() + _REACH]
        if _DENIED.search(before) or _DENIED_AFTER.match(after):
            continue
        i, j = (match.lastgroup or "w0_0")[1:].split("_")
        fact, unit, options = WORDS[int(i)]
        yield Said((fact, options[int(j)][1], unit), True)


def _joined(lower: str) -> Iterator[Said]:
    for match in _PARALLEL.finditer(lower):
        fact, unit = _PARALLEL_FACT[match["what"]]
        yield Said((fact, float(match["n"]), unit), True)
    for match in _PCIE.finditer(lower):
        yield Said(("hw.gpu.pcie.link.width", float(match["width"]), "{lane}"), False)
        if gen := match["gen"] or match["gen2"]:
            yield Said(("hw.gpu.pcie.link.gen", float(gen), "{generation}"), False)
    for match in _ETHERNET.finditer(lower):
        gigabits = {"千兆": 1.0, "万兆": 10.0}[match["zh"]] if match["zh"] else float(match["n"])
        yield Said(("system.network.link.speed", gigabits * 1e9 / 8, "By/s"), False)
    for match in _TOPOLOGY.finditer(lower):
        yield Said(("hw.gpu.topology.worst_path", match["path"].upper(), _S), False)
    if _NVLINK.search(lower):
        yield Said(("hw.gpu.topology.worst_path", "NV", _S), False)
    for match in _VERSION.finditer(lower):
        what = match["what"].replace(" ", "")
        yield Said((_VERSION_FACT.get(what, "hw.gpu.driver.version"), match["v"], "{version}"), False)
