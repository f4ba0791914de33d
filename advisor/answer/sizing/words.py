"""Words -> inputs: models, GPUs, sizes, rates and settings in the ways people write them.

Each reader takes its match out of the text, so that "batch 32" is not read again as 32 GPUs.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from advisor.answer.sizing.hardware import GPU_NAME, gpu_by, link_in
from advisor.answer.sizing.inputs import Value
from advisor.answer.sizing.reader import BYTES, COUNT, NUMBER, SCALE, SECONDS, TIME, Reader, context_length, numeral
from advisor.answer.sizing.settings import read_settings
from advisor.answer.sizing.shapes import named

_NO = r"(?<![a-z0-9_.])"
_GIB = r"gi?b?(?![a-z/])"


def _model(r: Reader) -> None:
    if found := named(r.text):
        shape, name = found
        r.values["model"] = shape.name
        r.cut(name)
        return
    experts = r.take(rf"{_NO}(\d+)x(\d+(?:\.\d+)?) ?b(?![a-z0-9/])")
    if experts:
        r.values["params"] = float(experts[1]) * float(experts[2]) * 1e9
        return
    match = r.take(rf"{_NO}(\d+(?:\.\d+)?) ?(b|bn|billion|亿)(?![a-z0-9/])(?:[-_ ]?a(\d+(?:\.\d+)?)b)?")
    if match and match[3]:
        r.values["active"] = float(match[3]) * 1e9
    match = match or r.take(rf"{_NO}(\d+(?:\.\d+)?) ?(m|million)[ -](?:param|model|参数)")
    if match:
        r.values["params"] = float(match[1]) * SCALE[match[2]]


def _gpus(r: Reader) -> None:
    """GPUs by name or by memory, and how many; a plain size that is left is the memory of one."""
    counted = rf"{COUNT}?\s?(?:[x×*-]|张|块|卡|片|台)?\s?的?(?:(?P<before>\d{{2,3}}) ?g(?:i?b)?[ -]?的?)?"
    pattern = rf"{counted}{GPU_NAME}(?:\s?[x×*]\s?(?P<after>\d{{1,4}})(?![\d.]))?"
    if named_gpu := r.take(pattern):
        _named_gpu(r, named_gpu.groupdict())
    elif sized := r.take(rf"{COUNT}\s?(?:[x×*]|张|块|卡)\s?(\d{{1,3}}) ?{_GIB}"):
        r.values |= {"gpus": numeral(sized["n"]), "memory": float(sized[2])}
    _counts(r)
    left = r.take(rf"{_NO}(\d{{1,3}}(?:\.\d+)?) ?{_GIB}(?! ?(?:网|以太|of (?:host )?ram|内存|ram|host))")
    if left and "memory" not in r.values and "bytes" not in r.values:
        r.values["memory"] = float(left[1])


def _named_gpu(r: Reader, part: dict[str, str | None]) -> None:
    gib = part["before"] or part["gib"]
    memory = float(gib) if gib else None
    r.values["gpu"] = gpu_by(part["gpu"] or "", memory).name
    if memory:
        r.values["memory"] = memory
    if counted := part["n"] or part["after"]:
        r.values["gpus"] = numeral(counted)


def _counts(r: Reader) -> None:
    nodes = r.take(rf"{COUNT}\s?(?:[x×] ?)?(?:nodes?|machines?|hosts?|servers?|机|台|个?节点)")
    each = rf"{COUNT}\s?-?(?:gpus?|cards?|accelerators?|张卡|块卡|个? ?gpu|卡|张显卡|张|块)(?![a-z])"
    cards = r.take(each)
    if nodes:
        r.values["nodes"] = numeral(nodes["n"])
    if cards and "gpus" not in r.values:
        r.values["gpus"] = numeral(cards["n"])
    if nodes and "gpus" in r.values:
        count, gpus = float(r.values["nodes"]), float(r.values["gpus"])
        total = gpus > 8 and gpus % count == 0
        r.values["gpus"] = gpus if total else count * gpus


_TOKEN = r"(?:tokens?|toks?|tks?|词元)"


CORPUS = 1e6  # fewer tokens than this are the length of a sequence


def _throughput(r: Reader) -> None:
    per = r"(?:/|per|a|每) ?(?:s\b|secs?\b|second|秒)"
    number = rf"(?<![a-z0-9_.]){NUMBER} ?(k|m|万|千)?"
    patterns = (
        rf"{number} ?个? ?{_TOKEN} ?{per}",
        rf"{number} ?t(?:p|ok)s\b",
        rf"每秒 ?{NUMBER} ?(k|万|千)? ?个? ?{_TOKEN}",
    )
    each = r"(?:/|per|each|每) ?(?:gpu|card|device|张卡|卡)"
    before = r.text
    r.number("tokens_per_second", *patterns)
    if "tokens_per_second" in r.values and re.search(each, before):
        r.take(each)
        r.values["per_gpu"] = "yes"
    r.number(
        "tokens",
        (
            rf"(?<![a-z0-9_.]){NUMBER} ?(万亿|trillion|billion|million|[btmk]|亿"
            rf"|万)? ?个? ?(?:的? ?)?{_TOKEN}(?! ?(?:/|per|每))(?! ?(?:context|long|上下文))"
        ),
    )
    if float(r.values.get("tokens", CORPUS)) < CORPUS:  # "sequences of 4096 tokens"
        r.values["seq"] = r.values.pop("tokens")
    r.number(
        "mfu",
        r"mfu ?(?:of|=|is|at|about|为|是|约|按|:)? ?(\d+(?:\.\d+)?) ?%",
        r"(\d+(?:\.\d+)?) ?% ?(?:的 ?)?mfu",
        r"mfu ?(?:of|=|为|按|:)? ?(0\.\d+)",
    )
    if "mfu" in r.values and float(r.values["mfu"]) > 1:
        r.values["mfu"] = float(r.values["mfu"]) / 100
    r.number(
        "price",
        r"\$ ?(\d+(?:\.\d+)?) ?(?:/|per|an?) ?(?:gpu[- ]?)?(?:hours?|hr|h)\b",
        r"(\d+(?:\.\d+)?) ?(?:元|块|美元|刀) ?(?:/|每|一) ?(?:卡|张)? ?(?:时|小时)",
        r"每 ?(?:卡|gpu)? ?(?:时|小时) ?(\d+(?:\.\d+)?) ?(?:元|块|美元)",
    )


_CONTEXT = (
    r"(?:seq(?:uence)?[ _-]?(?:len(?:gth)?)?|max[-_ ]?(?:model[-_ ]?|seq[-_ ]?)?len(?:gth)?"
    r"|context(?: (?:length|window|size|of))?|ctx|上下文(?:长度|窗口)?|序列(?:长度)?|长度)"
)


def _batch(r: Reader) -> None:
    r.number(
        "batch",
        r"(?:micro ?-?)?batch(?:[ _-]?size)? ?(?:of|=|:|is|为|是|设为)? ?(\d+)",
        r"\bbs ?=? ?(\d+)",
        r"批(?:次|大小|量)(?:大小)? ?(?:为|=|是)? ?(\d+)",
        rf"{_NO}(\d+) ?(?:个|路)? ?(?:concurrent|parallel|并发|请求|requests|sequences|users|用户)",
    )


def _context(r: Reader) -> None:
    """A length after its name; one before it, or a bare "8k", is read once the GPUs are known."""
    if match := r.take(rf"{_CONTEXT} ?(?:of|=|:|is|为|是|到|长)? ?{NUMBER} ?(k|万)?(?![a-z0-9])"):
        r.values["seq"] = context_length(match[1], match[2])


def _loose_context(r: Reader) -> None:
    before = rf"{_NO}{NUMBER} ?(k|万)?[ -]?(?:tokens? )?(?:的? ?)(?:{_CONTEXT}|long)"
    match = None if "seq" in r.values else r.take(before) or r.take(rf"{_NO}(\d+) ?(k)(?![a-z0-9])")
    if match:
        r.values["seq"] = context_length(match[1], match[2])


def _parallel(r: Reader) -> None:
    r.number("rank", r"\b(?:lora )?(?:r|rank) ?=? ?(\d+)\b")
    r.number(
        "tp",
        r"\btp ?(?:=|of|size)? ?=? ?(\d+)",
        r"tensor[- ]parallel(?:[- ]size)? ?(?:of|=|为)? ?(\d+)",
        r"张量并行(?:度)? ?(?:为|=)? ?(\d+)",
        r"(\d+) ?[- ]?way tensor",
    )
    r.number(
        "chunks",
        r"(\d+) ?(?:virtual|interleaved) ?(?:stages|chunks)?",
        r"(?:virtual (?:stages|chunks)|interleav\w*|chunks|虚拟(?:段|级|阶段)?|交错) ?(?:of|=|with|为|per \w+)? ?(\d+)",
        r"\bv ?= ?(\d+)",
    )
    r.number(
        "microbatches",
        r"(\d+) ?个? ?(?:micro[- ]?batch(?:es)?|微批次?)",
        (
            r"(?:micro[- ]?batch(?:es)?(?: count)?|微批次?(?:数)?|gradient accumulation(?: steps)?"
            r"|梯度累[积加](?:步数)?) ?(?:of|=|:|is|为|是)? ?(\d+)"
        ),
        r"\bm ?= ?(\d+)",
    )
    r.number(
        "stages",
        r"(?:\bpp|pipeline[- ]parallel(?:ism)?(?:[- ]size)?) ?(?:of|=|:|is|size)? ?(\d+)",
        r"流水线(?:并行)?(?:度)? ?(?:=|为|是)? ?(\d+)",
        r"(\d+) ?[- ]?(?:pipeline )?(?:stages?|级|段|个阶段)",
        r"\bp ?= ?(\d+)",
    )


def _moved(r: Reader) -> None:
    name = re.search(GPU_NAME, r.text)
    gpu = gpu_by(name["gpu"]) if name else None
    if found := link_in(r.text, gpu):
        r.values |= {"link": found[0].name, "link_rate": found[0].rate, "network": "yes" if found[0].network else "no"}
        r.cut(found[1])
    if match := r.take(r"(?<![a-z0-9_.])(\d+(?:\.\d+)?) ?([gmt])(i?b)/s"):
        r.values["write_rate"] = float(match[1]) * BYTES[match[2] + match[3]]
    if match := r.take(
        rf"(?:mtbf|mean time (?:between|to) failures?|fail(?:s|ure)?|crash(?:es)?|故障|挂)[^\d;]{{0,20}}{TIME}"
    ):
        r.values["failures"] = float(match[1]) * SECONDS[match[2]]


def _transfer_bytes(r: Reader) -> None:
    if re.search(r"all-?reduce|梯度|gradient|checkpoint|ckpt|检查点", r.text) and (
        match := r.take(
            r"(?<![a-z0-9_.])(\d+(?:\.\d+)?) ?(tib|gib|mib|tb|gb|mb|g|m)(?![a-z/])(?! ?(?:网|nic|以太"
            r"|ethernet))(?= ?(?:of |的)? ?(?:gradient|梯度|checkpoint|data|buffer|ckpt|检查点|数据"
            r"|message|over|在|走))"
        )
    ):
        r.values["bytes"] = float(match[1]) * BYTES[match[2]]


def _loading(r: Reader) -> None:
    """Times of loading and of the step, told apart by the words of their clause."""
    for clause in re.split(r"[,;!?，；。？！]|\.\s|\band\b|\bwhile\b|\bbut\b|而", r.text):
        times = re.findall(TIME, clause)
        if len(times) != 1:
            continue
        seconds = float(times[0][0]) * SECONDS[times[0][1]]
        if re.search(r"\bstep|iter|每步|一步|单步|训练步|forward|compute|计算|gpu", clause):
            r.values.setdefault("step_time", seconds)
        elif re.search(r"sample|image|picture|record|每张|每个样本|单张|一张|每条|单条", clause):
            r.values.setdefault("sample_time", seconds)
        elif re.search(r"load|decod|augment|pre-?process|fetch|read|batch|数据|加载|读取?|预处理|解码|增强", clause):
            r.values.setdefault("load_time", seconds)


def _wanted(r: Reader) -> None:
    """Whether the number of GPUs is what is asked for."""
    cards = r"how many [^?,;]{0,12}(?:gpus?|cards?)\b|how many (?=[ah]\d)|几 ?[张块卡]|多少 ?[张块卡]"
    if r.take(cards):
        r.values["wanted"] = "gpus"


# The order matters: what has a unit of its own first, plain counts last.
READERS: tuple[Callable[[Reader], None], ...] = (
    _throughput,
    _model,
    read_settings,
    _transfer_bytes,
    _parallel,
    _loading,
    _moved,
    _batch,
    _context,
    _wanted,
    _gpus,
    _loose_context,
)


def read(plain: str) -> dict[str, Value]:
    """Every input that a normalised text states.

    >>> read("qwen2.5-72b int4 单卡 80g 能跑吗, 上下文 32k")
    {'model': 'Qwen2.5-72B', 'quant': 'int4', 'seq': 32768.0, 'gpus': 1.0, 'memory': 80.0}
    """
    reader = Reader(plain)
    for step in READERS:
        step(reader)
    if "gpus" in reader.values:
        reader.values.pop("wanted", None)
    return reader.values
