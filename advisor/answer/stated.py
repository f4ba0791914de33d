"""Facts that a person states in words: share of GPU use, workers, GPUs, nodes, batch size, phase of the run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from advisor.models import Value

_NUMBER = r"(\d{1,6}(?:\.\d{1,3})?)"
_DIGITS_ZH = {"一": 1, "两": 2, "二": 2, "三": 3, "四": 4, "六": 6, "八": 8}


@dataclass(frozen=True, slots=True)
class Stated:
    """A fact in the unit of the vocabulary; `tried` when it is a remedy that was tried and not the present state."""

    name: str
    value: Value
    unit: str
    tried: bool = False


def _number(text: str) -> float:
    return float(_DIGITS_ZH[text]) if text in _DIGITS_ZH else float(text)


def _share(text: str) -> float:
    return _number(text) / 100


_COUNT = r"(\d{1,4}|[一两二三四六八])"
_NUMBERS: tuple[tuple[re.Pattern[str], str, str, Callable[[str], float]], ...] = (
    (
        re.compile(rf"gpu[- ]?util\w*\D{{0,12}}{_NUMBER}\s?%|利用率\D{{0,8}}{_NUMBER}\s?%"),
        "hw.gpu.utilization",
        "1",
        _share,
    ),
    (
        re.compile(
            rf"{_NUMBER}\s?% (?:of )?(?:the |each |every )?(?:time|step)?.{{0,20}}"
            rf"(?:wait\w* for (?:data|batch)|in the dataloader)|{_NUMBER}\s?%.{{0,6}}时间.{{0,6}}(?:等数据|数据加载)"
        ),
        "ml.step.data_wait.exposed.fraction",
        "1",
        _share,
    ),
    (
        re.compile(
            rf"num_?workers?\s?(?:=|:|is|are|to|of|设为|设成|是|为|开了)?\s?(?:now )?{_COUNT}"
            rf"|{_COUNT}\s?(?:个\s?)?workers?\b"
        ),
        "config.dataloader.num_workers",
        "{worker}",
        _number,
    ),
    (
        re.compile(rf"(?<![\w.]){_COUNT}\s?(?:x\s?)?(?:gpus?\b|(?:张|块|个)?\s?(?:显卡|卡|gpu))"),
        "hw.gpu.count",
        "{gpu}",
        _number,
    ),
    (
        re.compile(rf"(?<![\w.]){_COUNT}\s?(?:nodes?\b|machines?\b|台(?:机器|服务器)?|个?节点)"),
        "config.distributed.nodes",
        "{host}",
        _number,
    ),
    (
        re.compile(rf"batch[_ ]?size\s?(?:=|:|is|of|是|为|设为)?\s?{_COUNT}|批大小\s?{_COUNT}"),
        "ml.microbatch.size",
        "{sample}",
        _number,
    ),
)
_PHASES = (
    (re.compile(r"\b(?:vllm|sglang|tgi|serving|triton)\b|推理服务|部署"), "serving"),
    (re.compile(r"\b(?:train(?:ing)?|fine-?tun\w+|dataloader|epoch)\b|训练|微调"), "training"),
)


def stated(plain: str) -> tuple[Stated, ...]:
    """The facts that normalised text states; the last of two about one thing.

    >>> [(s.name, s.value) for s in stated("gpu util is 30%, num_workers=0")]
    [('hw.gpu.utilization', 0.3), ('config.dataloader.num_workers', 0.0)]
    """
    found = {}
    for pattern, name, unit, convert in _NUMBERS:
        for match in pattern.finditer(plain):
            found[name] = Stated(name, convert(next(g for g in match.groups() if g)), unit)
    phase = next((phase for pattern, phase in _PHASES if pattern.search(plain)), None)
    if phase:
        found["run.phase"] = Stated("run.phase", phase, "{string}")
    return tuple(found.values())
