"""A message in a person's own words -> the facts that it states about the present run.

Amounts are found first and then given to the words beside them: the words before an amount when only small words
stand between ("GPU util is only about 30 %"), else the words right behind it ("30% GPU util", "8 GPUs"). What is said
of the present wins over what was; two statements of equal weight that disagree state nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from advisor.answer.stated import setting
from advisor.answer.stated.moods import MAX_READ, Clause, clauses
from advisor.answer.stated.names import FOUND, NAMES, Name
from advisor.answer.stated.quantities import Quantity, quantities
from advisor.answer.stated.special import Context, worked_out
from advisor.answer.stated.switches import switches
from advisor.models import STATED, Fact, Value
from advisor.text import fold

_WEIGHT = {"now": 2, "present": 1, "past": 0}
_AGREE = 0.02
MAX_AMOUNTS, MAX_NAMES = 24, 48  # in one clause; more is a table
# Small words between a name and its amount; everything else keeps them apart.
_BETWEEN = re.compile(
    r"(?:[\s:=~≈<>()\[\]{}'\"`*|@≤≥→-]|\b(?:is|are|was|were|it|its|it's|'s|at|of|to|in|for|about|around|only|just|"
    r"roughly|"
    r"approx(?:imately)?|ca|hover(?:s|ing)?|sit(?:s|ting)?|stay(?:s|ing)?|stuck|show(?:s|ing)?|say(?:s)?|said|"
    r"reads?|reports?|"
    r"averag(?:e|es|ing)|mean|currently|now|never|goes|go|get(?:s|ting)?|above|below|under|over|exceeds?|more|"
    r"less|than|"
    r"at most|least|between|and|the|a|an|very|low|high|always|usually?|mostly|constantly|steady|steadily|even|"
    r"still|drop(?:s|ped)?|f[ae]ll(?:s)?|"
    r"went|down|up|out|by|my|me|our|set|used|using|uses?|use|takes?|taking|took|has|have|having|with|reach(?:es|"
    r"ed)?|percent|value|"
    r"size|all|each|per|not|no|almost|nearly|close|barely|hardly|pegged|maxed|bouncing|fluctuat(?:es|ing)|running|"
    r"being|been|"
    r"run(?:s)?|full|limited|capped|connected|link|speed|bandwidth|rate|time|equals?|within|range|you|we|i|on|gpu|"
    r"gpus|both|"
    r"total|while|training|during|consistently|sitting|like|something|as|slow|fast|wait(?:s|ing)?|card|device|"
    r"finish(?:es)?|need(?:s)?|"
    r"last(?:s)?|cost(?:s)?|account(?:s)?|step|one|every|this|that|so|also|ranks?|nodes|hosts|machines|there|some|"
    r"model|single|until|after|then|big|small)\b"
    r"|只(?:有|能|用|跑|到|剩|占)?|才|仅(?:有|为)?|大概|大约|约(?:为)?|差不多|左右|上下|基本(?:上)?|一直|总是|"
    r"始终|稳定|保持|维持|徘徊|平均|"
    r"在|是|为|有|到|达(?:到)?|掉|降|升|涨|不到|不足|低于|高于|小于|大于|超过|最多|至少|显示|看(?:到)?|的|都|也|"
    r"就|还|很(?:低|高)?|才|设(?:置)?|成|"
    r"用(?:了|的)?|占(?:用)?(?:了)?|吃(?:了)?|要|需要|花(?:了|费)?|耗(?:时)?|跑(?:了|到|满)?|速度|时间|带宽|使用|"
    r"接近|几乎|将近|快|已经?|了|着|当前|现在|目前|"
    r"训练(?:时|中|的时候)?|推理(?:时)?|时候?|期间|每|个|块|张|卡|单|总|共|波动|浮动|附近|之间|开(?:了)?|给|"
    r"配(?:了)?|限制|分配|读|写|只读|链路|降级|被|里|中|上|"
    r"完|一|次|保存|存|加载|处理|请求|延迟|等|显卡|gpu|每个|每张|数)*"
)
_AFTER = re.compile(
    r"(?:[\s:()-]|[x×*]|\b(?:of|the|my|our|its|total|available|free|time|each|every|step|iteration|training|wall|"
    r"is|are|was|spent|in|on|"
    r"goes|go|to|into|wait(?:s|ing)?|for|doing|nvidia|per|a|an|dataloader|loader|used|being|one|clock|run|runtime|"
    r"just|by|it|"
    r"gets|that|cpu|process|processes|pytorch|torch|batch|taken|up|eaten|lost|physical|logical|full|concurrent|"
    r"about|single)\b"
    r"|的|时间|都|花|在|用|于|耗|是|张|块|个|里|上|等|浪费|占|被|全|(?:每)?步|step|训练|总)*"
)
# A number and what it counts stand together: "8 GPUs", but not "1 on GPU".
_COUNTED = re.compile(
    r"(?:[\s×*x]|\b(?:nvidia|dataloader|loader|physical|logical|more|identical|same|个|cpu|of these)\b|[个张块台路条])*"
)
_UNSTEADY = re.compile(
    r"\b(?:sometimes|occasionally|every (?:now|few|couple|\d+)|spik(?:es?|ing)|from time to time|briefly|"
    r"periodically|at times|peaks?|"
    r"maximum|for a (?:moment|second)|then back|momentarily|now and then|intermittent\w*)\b"
    r"|有时|偶尔|间歇|每隔|时不时|峰值|最高|最大|瞬间|一会儿|一会|忽高忽低|跳到|隔一会|突然"
)
_STEADY = frozenset(
    ["hw.gpu.utilization", "@cpu", "@gpu", "system.disk.utilization", "system.cpu.core.utilization.max"]
)
_POINTS_BACK = re.compile(
    r"^\W*(?:and |so )?(?:it|now|currently|right now|only|现在|目前|这边|只有|如今|on (?:the|my)|at)\b|"
    r"^\W*(?:现在|目前|只有|才)"
)
_EDGE = 70  # characters between a name and its amount


@dataclass(frozen=True, slots=True)
class Stated:
    """What a message says in own words: facts of the present, what was tried, and how amounts were taken."""

    facts: tuple[Fact, ...] = ()
    tried: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()

    def value(self, name: str) -> Value | None:
        """The value of a fact, None when it is not stated."""
        return next((f.value for f in self.facts if f.name == name), None)


@dataclass(frozen=True, slots=True)
class _Found:
    fact: Fact
    weight: int
    note: str = ""


def read_stated(text: str) -> Stated:
    """The facts stated in a message (as typed).

    Every fact has the unit of the vocabulary and the origin `STATED`. Wishes, hypotheses, memories, other machines,
    quotations and questions about a setting give none.
    """
    folded = fold(text[:MAX_READ])
    lower = folded.lower()
    run = setting.phase(lower)
    found: list[_Found] = []
    tried: list[_Found] = []
    carried: Name | None = None
    for clause in clauses(folded):
        hits, carried = _clause(clause, carried, run)
        if clause.mood == "tried":
            tried += hits
        elif clause.mood not in ("unreal", "gone"):
            found += hits
    facts, notes = _settled([*found, *_about(lower, run, found)])
    return Stated(tuple(worked_out(facts, run)), _settled(tried)[0], notes)


def _about(lower: str, run: str | None, found: Sequence[_Found]) -> Iterator[_Found]:
    """Phase, framework and whether a GPU computes: said by the message as a whole."""
    framework = setting.framework(lower)
    if run:
        yield _found("run.phase", run, "{string}", 1)
    if framework:
        yield _found("run.framework", framework, "{string}", 1)
    used = setting.gpu_used(lower)
    busy = any(
        f.fact.name == "hw.gpu.utilization" and isinstance(f.fact.value, float) and f.fact.value > 0 for f in found
    )
    if used is not None or busy:
        yield _found("run.gpu.used", busy or bool(used), "{bool}", 1)


def _found(name: str, value: Value, unit: str, weight: int, note: str = "") -> _Found:
    return _Found(Fact(name, value, unit, STATED), weight, note)


def _clause(clause: Clause, carried: Name | None, run: str | None) -> tuple[list[_Found], Name | None]:
    """What one clause states, and the name that the next clause may refer back to."""
    weight = _WEIGHT.get(clause.mood, 1)
    found: list[_Found] = []
    masked = clause.lower
    for name, many, size, start, end in setting.models(clause.lower):
        found.append(_found("hw.gpu.model", name, "{string}", weight))
        if many:
            found.append(_found("@gpus", many, "{gpu}", weight))
        if size:
            found.append(_found("hw.gpu.memory.limit", size, "By", weight))
        masked = masked[:start] + " " * (end - start) + masked[end:]
    asks = clause.question and not clause.own
    found += [_found(*s.row, weight) for s in switches(clause.lower) if not (asks and s.setting)]
    amounts, last = _amounts(masked, clause, carried, run)
    for fact, value, unit, note in amounts:
        if not (asks and fact.startswith("config.")):
            found.append(_found(fact, value, unit, weight, note))
    return found, last


def _amounts(
    masked: str, clause: Clause, carried: Name | None, run: str | None
) -> tuple[list[tuple[str, Value, str, str]], Name | None]:
    found = _joined(list(islice(quantities(masked, clause.cased), MAX_AMOUNTS)))
    if not found:
        return [], carried
    names = [
        (m.start(), m.end(), NAMES[int((m.lastgroup or "n0")[1:])]) for m in islice(FOUND.finditer(masked), MAX_NAMES)
    ]
    rows: list[tuple[str, Value, str, str]] = []
    last = names[-1][2] if names else (carried if clause.mood != "unreal" else None)
    for quantity in found:
        pair = _named(quantity, names, masked)
        if pair is None and not names and carried and quantity.kind in carried.kinds and _POINTS_BACK.match(masked):
            pair = (carried, "", "")
        rows += _rows(quantity, pair, masked, run)
    return rows, last


def _joined(found: Sequence[Quantity]) -> list[Quantity]:
    """Times that follow each other directly ("1h 30min") are one."""
    joined: list[Quantity] = []
    for quantity in found:
        before = joined[-1] if joined else None
        if (
            before
            and quantity.kind == before.kind == "time"
            and quantity.start - before.end <= 1
            and quantity.amount < before.amount
        ):
            joined[-1] = replace(before, amount=before.amount + quantity.amount, end=quantity.end)
        else:
            joined.append(quantity)
    return joined


def _named(quantity: Quantity, names: Sequence[tuple[int, int, Name]], text: str) -> tuple[Name, str, str] | None:
    """The words that an amount belongs to, as they stand, with what is between."""
    before = _nearest_before(quantity, names, text)
    for start, end, name in names:
        if (
            (start < quantity.start and end <= quantity.start)
            or quantity.kind not in name.kinds
            or name.side == "before"
        ):
            continue
        gap = text[quantity.end : start]
        if (
            start < quantity.end
            or len(gap) > _EDGE
            or not (_COUNTED if quantity.kind == "count" else _AFTER).fullmatch(gap)
        ):
            continue
        close = len(gap.strip()) == 0
        if before is None or (close and (name.side == "after" or len(before[2]) > len(gap))):
            return name, text[start:end], gap
        break
    return before


def _nearest_before(
    quantity: Quantity, names: Sequence[tuple[int, int, Name]], text: str
) -> tuple[Name, str, str] | None:
    for start, end, name in reversed(names):
        if end > quantity.start:
            continue
        gap = text[end : quantity.start]
        counted = quantity.kind in ("count", "bytes") and name.fact == "@gpu"  # "GPU 3" is its number
        if name.side == "after" or counted or quantity.kind not in name.kinds:
            continue
        if len(gap) <= _EDGE and _BETWEEN.fullmatch(gap) and not re.search(r"\d", gap):
            return name, text[start:end], gap
        return None
    return None


def _rows(
    quantity: Quantity, pair: tuple[Name, str, str] | None, text: str, run: str | None
) -> Iterator[tuple[str, Value, str, str]]:
    name, words, gap = pair or (None, "", "")
    if name and name.fact in _STEADY and _UNSTEADY.search(text):
        return
    if name is None or name.fact.startswith("@"):
        context = Context(quantity, name.fact if name else "", words, gap, text, run)
        yield from ((fact, value, unit, quantity.note) for fact, value, unit in context.rows())
    elif quantity.total is None:
        yield name.fact, name.convert(quantity.amount), name.unit, quantity.note


def _settled(found: Sequence[_Found]) -> tuple[tuple[Fact, ...], tuple[str, ...]]:
    """One fact of each name: the weightiest; none where equal weights disagree."""
    by: dict[str, list[_Found]] = {}
    for each in found:
        by.setdefault(each.fact.name, []).append(each)
    facts, notes = [], []
    for name, all_ in by.items():
        top = max(f.weight for f in all_)
        best = [f for f in all_ if f.weight == top]
        if any(not _same(best[0].fact.value, f.fact.value) for f in best[1:]):
            continue
        facts.append(best[0].fact)
        if best[0].note:
            notes.append(f"{name}: {best[0].note}")
    return tuple(facts), tuple(notes)


def _same(a: Value, b: Value) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= _AGREE * max(abs(a), abs(b))
    return a == b
