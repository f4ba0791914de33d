"""Amounts whose fact depends on the words around them, and facts that follow from several statements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from advisor.answer.stated.quantities import Quantity
from advisor.models import STATED, Fact, Value

_USED = re.compile(r"\bus(?:ed?|es|ing|age)\b|tak(?:e|es|ing)|occup|consum|alloc|need|占|用|吃|只有")
_HAS = re.compile(r"\b(?:has|have|with|total|card|gpu)\b|大小|容量|总|有|的卡")
_PER_GPU = re.compile(r"\b(?:per|each) (?:gpu|card|node|device|rank)\b|单卡|每(?:张)?卡|每(?:个)?(?:gpu|节点|机)")
_PER_NODE = re.compile(
    r"gpus? each\b|\b(?:per|each|on each|every) (?:node|machine|server|host)\b|每台|每(?:个)?(?:节点|机|服务器)"
)
_PROMPT = re.compile(r"prompt|prefill|input|预填充|输入")
_PER_REQUEST = re.compile(
    r"per (?:request|user|stream|sequence)|single (?:request|user)|单(?:个)?(?:请求|用户|并发)|每个请求"
)
_SHARDED = ("DDP", "FSDP", "ZeRO-1", "ZeRO-2", "ZeRO-3")
Row = tuple[str, Value, str]


@dataclass(frozen=True, slots=True)
class Context:
    """An amount with the words it belongs to (`name` is the ``@`` of `NAMES`), what is between, and the clause."""

    quantity: Quantity
    name: str
    words: str
    gap: str
    text: str
    run: str | None

    def rows(self) -> Iterator[Row]:
        """The facts that it states; rates and step times need no words beside them."""
        if self.name:
            make = _BY_NAME.get(self.name)
            yield from make(self) if make else ()
        else:
            yield from self._alone()

    def _alone(self) -> Iterator[Row]:
        kind, amount = self.quantity.kind, self.quantity.amount
        if self.quantity.total is not None or amount <= 0:
            return
        if kind == "step_time":
            yield "ml.step.time", amount, "s"
        elif kind == "step_rate":
            yield "ml.step.time", 1.0 / amount, "s"
        elif kind == "sample_rate" and self.run != "serving":
            which = "ml.throughput.samples" if _PER_GPU.search(self.text) else "ml.throughput.samples.job"
            yield which, amount, "{sample}/s"
        elif kind == "request_rate":
            yield "gen_ai.server.requests.rate", amount, "{request}/s"
        elif kind == "token_rate":
            yield from self._tokens(amount)

    def _tokens(self, rate: float) -> Iterator[Row]:
        if self.run == "training":
            which = "ml.throughput.tokens" if _PER_GPU.search(self.text) else "ml.throughput.tokens.job"
            yield which, rate, "{token}/s"
        elif _PER_REQUEST.search(self.text):
            yield "gen_ai.server.time_per_output_token", 1.0 / rate, "s"
        elif _PROMPT.search(self.text):
            yield "gen_ai.server.prompt_tokens.rate", rate, "{token}/s"
        elif self.run in ("serving", "inference"):
            yield "gen_ai.server.generation_tokens.rate", rate, "{token}/s"


def _gpu_memory(c: Context) -> Iterator[Row]:
    q = c.quantity
    if q.kind == "share":
        if "free" not in c.text and "剩" not in c.text:
            yield "hw.gpu.memory.utilization", q.amount, "1"
    elif q.total is not None:
        yield from _filled(q, "hw.gpu.memory.usage", "hw.gpu.memory.limit", "hw.gpu.memory.utilization")
    elif _USED.search(c.words + c.gap) or re.search(
        r"\b(?:us(?:es|ing|ed)|takes?|occup\w+|only)\b[^,]{0,14}$", c.text[: q.start]
    ):
        yield "hw.gpu.memory.usage", q.amount, "By"
    elif not re.search(r"free|left|剩|空闲", c.text):
        yield "hw.gpu.memory.limit", q.amount, "By"


def _filled(q: Quantity, used: str, limit: str, share: str) -> Iterator[Row]:
    """Of "79/80G": what is used, what there is, and their ratio; numbers without a unit are GiB."""
    size = 1.0 if q.kind == "bytes" else 2.0**20 if (q.total or 0) > 4000 else 2.0**30
    if q.total and q.amount <= q.total:
        yield used, q.amount * size, "By"
        yield limit, q.total * size, "By"
        yield share, q.amount / q.total, "1"


def _host_memory(c: Context) -> Iterator[Row]:
    q = c.quantity
    free = re.search(r"free|available|left|剩|可用|空闲", c.text) is not None
    if q.kind == "share":
        yield "system.memory.available.fraction", q.amount if free else 1.0 - q.amount, "1"
    elif q.total is not None:
        for fact, value, unit in _filled(q, "used", "system.memory.limit", "share"):
            if fact == "share" and isinstance(value, float):
                yield "system.memory.available.fraction", 1.0 - value, "1"
            elif fact == "system.memory.limit":
                yield fact, value, unit
    elif free:
        yield "system.memory.available", q.amount, "By"
    elif _USED.search(c.words + c.gap):
        yield "process.memory.usage", q.amount, "By"
    else:
        yield "system.memory.limit", q.amount, "By"


def _shm(c: Context) -> Iterator[Row]:
    if c.quantity.kind == "share":
        yield "system.filesystem.shm.utilization", c.quantity.amount, "1"
    elif c.quantity.total is None:
        yield "system.filesystem.shm.limit", c.quantity.amount, "By"


def _cpu(c: Context) -> Iterator[Row]:
    """Up to 100 % it is the machine; more is what top prints for one process, in cores."""
    if c.quantity.amount > 1.0:
        yield "process.cpu.utilization", c.quantity.amount, "{cpu}"
    elif re.search(r"\b(?:per|one|a single|single|each) (?:cpu )?core|单核|一个核", c.text):
        yield "system.cpu.core.utilization.max", c.quantity.amount, "1"
    else:
        yield (
            "system.cpu.utilization",
            1.0 - c.quantity.amount if re.search(r"\bidle\b|空闲", c.gap) else c.quantity.amount,
            "1",
        )


def _power(c: Context) -> Iterator[Row]:
    yield "hw.gpu.power", c.quantity.amount, "W"
    if c.quantity.total is not None:
        yield "hw.gpu.power.limit", c.quantity.total, "W"


def _network(c: Context) -> Iterator[Row]:
    """How fast the link is; what is sent over it at the moment has other words before it."""
    if not re.search(
        r"\b(?:us(?:es|ing|ed)|receiv\w+|sen(?:ds?|ding)|traffic|throughput|transfer\w*|get(?:ting|s)?|"
        r"see(?:ing)?)\b|实际|流量|只跑|跑到",
        c.text,
    ):
        yield "system.network.link.speed", c.quantity.amount, "By/s"


def _data_share(c: Context) -> Iterator[Row]:
    yield "ml.step.data_wait.fraction", c.quantity.amount, "1"
    yield "ml.step.data_wait.exposed.fraction", c.quantity.amount, "1"  # who feels a wait means one that costs time


def _evaluation(c: Context) -> Iterator[Row]:
    if c.quantity.kind == "share":
        if re.search(r"\btime\b|时间", c.text):
            yield "ml.evaluation.fraction", c.quantity.amount, "1"
    else:
        yield "ml.evaluation.time", c.quantity.amount, "s"


def _load(c: Context) -> Iterator[Row]:
    yield "@load", c.quantity.amount, "1"


def _nodes(c: Context) -> Iterator[Row]:
    if 1 <= c.quantity.amount <= 20_000 and c.quantity.amount == int(c.quantity.amount):
        yield "config.distributed.nodes", c.quantity.amount, "{host}"


def _gpus(c: Context) -> Iterator[Row]:
    if 1 <= c.quantity.amount <= 100_000 and c.quantity.amount == int(c.quantity.amount):
        yield "@gpus.node" if _PER_NODE.search(c.text) else "@gpus", c.quantity.amount, "{gpu}"


def _gpu(c: Context) -> Iterator[Row]:
    """The bare word: what it is depends on the kind of the amount."""
    q = c.quantity
    if q.kind == "count":
        yield from _gpus(c)
    elif q.kind == "share" and not re.search(
        r"memory|mem\b|显存|slower|faster|speed|慢|快|more|less|cheaper|提升|加速", c.text
    ):
        yield "hw.gpu.utilization", q.amount, "1"
    elif q.kind == "temperature":
        yield "hw.gpu.temperature", q.amount, "Cel"
    elif q.kind == "power":
        yield "hw.gpu.power", q.amount, "W"
    elif (
        q.kind == "bytes"
        and q.total is None
        and re.search(r"^ ?[gt]", c.text[q.end - 2 : q.end].lstrip("0123456789"))
        and q.end <= c.text.find(c.words)
    ):
        yield "hw.gpu.memory.limit", q.amount, "By"


_BY_NAME = {
    "@gpu.memory": _gpu_memory, "@host.memory": _host_memory, "@shm": _shm, "@cpu": _cpu, "@power": _power,
    "@network": _network, "@data_share": _data_share, "@evaluation": _evaluation, "@load": _load, "@nodes": _nodes,
    "@gpu": _gpu,
}  # fmt: skip


def worked_out(facts: Sequence[Fact], run: str | None) -> Iterator[Fact]:
    """The facts, and what several of them together state: GPUs per node, ranks, load per CPU."""
    known = {f.name: f.value for f in facts}
    serving = run == "serving"
    for fact in facts:
        if fact.name.startswith("@") or (serving and fact.name == "config.dataloader.batch_size"):
            continue
        yield fact
    yield from (Fact(name, value, unit, STATED) for name, value, unit in _sizes(known) if name not in known)
    load, cores = known.get("@load"), known.get("system.cpu.logical.count")
    if isinstance(load, float) and isinstance(cores, float) and cores:
        yield Fact("system.load.per_cpu", load / cores, "1", STATED)


def _sizes(known: dict[str, Value]) -> Iterator[Row]:
    """GPUs here and ranks in all: a count for several nodes is of the whole job unless it is said to be of each."""
    nodes, total, each = known.get("config.distributed.nodes"), known.get("@gpus"), known.get("@gpus.node")
    many = isinstance(nodes, float) and nodes > 1
    here = each if isinstance(each, float) else None if many else total
    ranks = each * nodes if isinstance(each, float) and isinstance(nodes, float) else total
    if isinstance(here, float):
        yield "hw.gpu.count", here, "{gpu}"
    if not isinstance(ranks, float):
        return
    if many or known.get("config.distributed.strategy") in _SHARDED:
        yield "config.distributed.world_size", ranks, "{rank}"
        if not many:
            yield "config.distributed.local_world_size", ranks, "{rank}"
