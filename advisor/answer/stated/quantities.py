"""Numbers with their units as people write them: "30 %", "79/80G", "两成", "1.5 it/s", "20-30%" -> Quantity.

Amounts come in the units of the fact vocabulary: shares of 1, seconds, bytes, bytes per second, watts, hertz, degrees
Celsius. A range becomes its middle, a bound ("below 20 %") the bound itself; both say so in `note`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal[
    "share", "bytes", "byte_rate", "bit_rate", "time", "step_time", "step_rate", "sample_rate", "token_rate",
    "request_rate", "temperature", "power", "clock", "lanes", "tokens", "parameters", "count", "part",
]  # fmt: skip
WIDE = 0.34  # a range of shares that is wider than a third is no value

_DIGIT = "零一二三四五六七八九十"
_ZH = {c: i for i, c in enumerate(_DIGIT)} | {"两": 2, "半": 0.5, "俩": 2}
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d{1,12})(?:\.\d{1,6})?"
# The words of a unit, longest first; the kind and how many of the vocabulary's unit it is.
_UNITS: tuple[tuple[str, Kind, float], ...] = (
    (r"%|percent\b|per cent\b|pct\b|个点", "share", 0.01),
    (r"成(?![功本为员])", "share", 0.1),
    (r"(?:s|secs?|seconds?|秒) ?(?:/|per|每) ?(?:it|iters?|iterations?|steps?|batch|步)\b|(?:秒|s) ?/? ?(?:一|每)?步",
     "step_time", 1.0),
    (r"(?:ms|毫秒) ?(?:/|per) ?(?:it|iters?|iterations?|steps?|batch)\b", "step_time", 1e-3),
    (r"(?:min|minutes?) ?(?:/|per) ?(?:it|iters?|iterations?|steps?)\b", "step_time", 60.0),
    (r"(?:its?|iters?|iterations?|steps?|batches|步) ?(?:/|per|每) ?(?:s|sec|second|秒)(?![a-z])", "step_rate", 1.0),
    (r"(?:samples?|imgs?|images?|frames?|examples?|seqs?|sequences?|张|条|样本) ?"
     r"(?:/|per|每) ?(?:s|sec|second|秒)(?![a-z])", "sample_rate", 1.0),
    (r"k ?(?:tok|tokens?) ?(?:/|per|每) ?(?:s|sec|second|秒)(?![a-z])", "token_rate", 1e3),
    (r"(?:t|tok|toks|tokens?|个token|字) ?(?:/|per|每|p) ?(?:s|sec|second|秒)(?![a-z])|tps\b", "token_rate", 1.0),
    (r"(?:reqs?|requests?|个?请求) ?(?:/|per|每) ?(?:s|sec|second|秒)(?![a-z])|qps\b|rps\b", "request_rate", 1.0),
    (r"t(?:bits?|b)(?:ps|/s| per second|/sec)", "bit_rate", 1e12 / 8),
    (r"g(?:bits?|b)?(?:ps|/s| per second|/sec|每秒)|gbits?\b|gb?e\b", "bit_rate", 1e9 / 8),
    (r"m(?:bits?|b)?(?:ps|/s| per second|/sec|每秒)|mbits?\b", "bit_rate", 1e6 / 8),
    (r"[gm]ib/s", "byte_rate", 0.0),
    (r"kb?/s", "byte_rate", 1e3),
    (r"ti?bs?(?![a-z])|ti?(?![a-z])", "bytes", 2.0**40),
    (r"gi?bs?(?![a-z])|gi?(?![a-z])|gigs?(?![a-z])|gigabytes?", "bytes", 2.0**30),
    (r"mi?bs?(?![a-z])|mi(?![a-z])|兆(?!网)|megs?(?![a-z])", "bytes", 2.0**20),
    (r"ki?bs?(?![a-z])", "bytes", 2.0**10),
    (r"k[ -]?tokens?(?![a-z])", "tokens", 1024.0),
    (r"(?:个 ?)?tokens?(?![a-z])", "tokens", 1.0),
    (r"k(?![a-z])", "tokens", 1024.0),
    (r"b(?![a-z])|billion\b", "parameters", 1e9),
    (r"亿", "parameters", 1e8),
    (r"mhz\b", "clock", 1e6), (r"ghz\b", "clock", 1e9),
    (r"w(?![a-z])|watts?(?![a-z])|瓦", "power", 1.0),
    (r"° ?c(?![a-z])|c(?![a-z])|degrees?(?: celsius| c)?(?![a-z])|°|摄氏度|度(?!量)", "temperature", 1.0),
    (r"µs|μs|us(?![a-z])|微秒", "time", 1e-6),
    (r"ms(?![a-z])|毫秒|milliseconds?", "time", 1e-3),
    (r"s(?![a-z])|secs?(?![a-z])|seconds?|秒钟?", "time", 1.0),
    (r"m(?:in|ins|inutes?)(?![a-z])|分钟|分(?![之片成])", "time", 60.0),
    (r"h(?:r|rs|ours?)?(?![a-z])|(?:个)?小时", "time", 3600.0),
    (r"days?(?![a-z])|天", "time", 86400.0),
    (r"m(?![a-z])", "bytes", 2.0**20),
    (r"万", "count", 1e4),
)  # fmt: skip
_UNIT = "|".join(f"(?P<u{i}>{words})" for i, (words, _, _) in enumerate(_UNITS))
_JOIN = r"(?:[ ]?(?:-|~|–|—|到|至|\bto\b|\band\b)[ ]?)"
_QUANTITY = re.compile(
    rf"(?<![a-z0-9_.])(?P<bound>[<>≤≥]=?[ ]?)?(?P<a>{_NUMBER})"
    rf"(?:(?:[ ]?(?P<ua>%|[gm]i?b?|s|ms|w))?(?P<join>{_JOIN}|[ ]?/[ ]?|[ ]out of[ ]|[ ]of[ ])(?P<b>{_NUMBER}))?"
    rf"(?:多|来|几)?(?:[ ]?(?:{_UNIT}))?"
)
_WORDS = re.compile(
    r"百分之(?P<h>[一二三四五六七八九]?十?[一二三四五六七八九]?|\d{1,3})"
    r"|(?P<tenths>[一二两三四五六七八九])(?:、?(?P<tenths2>[一二三四五六七八九]))?成(?![功本为员])(?P<half>半)?"
    r"|(?P<count>[一二两三四五六七八九十]{1,3}|单|双)(?=台|张|块|卡|机(?!会|制|器学)|个(?:节点|gpu|worker|进程)|gpu|路)"
    r"|\b(?P<word>one|single|two|three|four|six|eight|sixteen)(?= (?:nodes?|machines?|gpus?|workers?|cards?|servers?|"
    r"gpu nodes?|dataloader workers?)\b)"
    r"|(?<!另)(?P<zhhalf>一半)(?!的?(?:模型|数据|人|代码))"
    r"|\b(?P<en>(?:two |a |one )?(?:thirds?|quarters?)|three quarters|half)\b(?! (?:precision|the speed|as|"
    r"of the (?:speed|model|data|ranks|nodes|gpus)))"
)
_FRACTIONS = {"half": 0.5, "third": 1 / 3, "quarter": 0.25, "two thirds": 2 / 3, "three quarters": 0.75}
_COUNTS = {"one": 1, "single": 1, "two": 2, "three": 3, "four": 4, "six": 6, "eight": 8, "sixteen": 16}
_BOUND = re.compile(
    r"(?P<low>不到|不足|低于|小于|不超过|最多|至多|还不到|under|below|less than|at most|no more than|"
    r"never (?:goes |gets )?above"
    r"|never exceeds?|not even)|(?P<high>超过|高于|大于|至少|不低于|over|above|more than|at least|exceeds?)"
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount in a clause, from `start` to `end`; of "79/80G" `total` is the 80 and `amount` the 79."""

    kind: Kind
    amount: float
    start: int
    end: int
    total: float | None = None
    note: str = ""


def quantities(lower: str, cased: str) -> Iterator[Quantity]:
    """Every amount in a clause, in order.

    Args:
        lower: the clause, folded and in lower case.
        cased: the same as typed, which tells bits (Gb/s) from bytes (GB/s).
    """
    found = [*_spelled(lower), *_numbers(lower, cased)]
    end = 0
    for quantity in sorted(found, key=lambda q: (q.start, -q.end)):
        if quantity.start >= end:
            end = quantity.end
            yield quantity


def _numbers(lower: str, cased: str) -> Iterator[Quantity]:
    for match in _QUANTITY.finditer(lower):
        made = _made(match, cased)
        if made is not None:
            yield _bounded(made, lower)


def _made(match: re.Match[str], cased: str) -> Quantity | None:
    unit = match.lastgroup if (match.lastgroup or "")[:1] == "u" and match.lastgroup != "ua" else None
    a = _value(match["a"])
    b = _value(match["b"]) if match["b"] else None
    _, kind, scale = _UNITS[int(unit[1:])] if unit else ("", "count", 1.0)
    if match["join"] and match["join"].strip() == "and" and not cased[: match.start()].lower().endswith("between "):
        b = None  # two amounts that only stand beside each other
        kind, scale = _short(match["ua"]) if match["ua"] else ("count", 1.0)
    kind, scale = _bits_or_bytes(kind, scale, match[unit] if unit else "", cased[match.start() : match.end()])
    start, end = (
        match.start(),
        match.end() if b is not None or not match["b"] else match.end("ua" if match["ua"] else "a"),
    )
    if b is None:
        return Quantity(kind, a * scale, start, end, None, "at the bound" if match["bound"] else "")
    if match["join"].strip() in ("/", "of", "out of"):
        return Quantity("part" if kind == "count" else kind, a * scale, start, end, b * scale)
    return _range(kind, a * scale, b * scale, start, end)


def _range(kind: Kind, a: float, b: float, start: int, end: int) -> Quantity | None:
    if b < a or (kind == "share" and b - a > WIDE) or (kind != "share" and b > 2 * a):
        return None
    return Quantity(kind, (a + b) / 2, start, end, None, "the middle of a range")


def _short(unit: str) -> tuple[Kind, float]:
    """The unit that stands directly behind the number, where nothing else follows."""
    if unit == "%":
        return "share", 0.01
    if unit in ("s", "ms"):
        return "time", 1.0 if unit == "s" else 1e-3
    if unit == "w":
        return "power", 1.0
    return "bytes", 2.0**30 if unit[0] == "g" else 2.0**20


def _bits_or_bytes(kind: Kind, scale: float, unit: str, typed: str) -> tuple[Kind, float]:
    """A capital B or a spelled-out binary prefix makes bytes of what else are bits."""
    if kind == "byte_rate" and not scale:
        return kind, 2.0**30 if "g" in unit else 2.0**20
    if kind == "bit_rate" and ("B/s" in typed or "Bps" in typed or "Byte" in typed or unit.strip() in ("m/s", "g/s")):
        return "byte_rate", scale * 8
    return kind, scale


def _value(text: str) -> float:
    return float(text.replace(",", ""))


def _bounded(quantity: Quantity, lower: str) -> Quantity:
    """Where the words before it make a bound of the number, it says so."""
    before = lower[max(0, quantity.start - 22) : quantity.start]
    found = max(_BOUND.finditer(before), key=lambda m: m.end(), default=None)
    if found is None or len(before) - found.end() > 3:
        return quantity
    return replace(quantity, note="an upper bound" if found["low"] else "a lower bound")


def _spelled(lower: str) -> Iterator[Quantity]:
    """Amounts in words: 百分之三十, 两成, 一半, half, a third; 两台, 单卡, two nodes."""
    for match in _WORDS.finditer(lower):
        if match["count"] or match["word"]:
            few = {"单": 1.0, "双": 2.0}.get(match["count"] or "")
            amount = _COUNTS[match["word"]] if match["word"] else few or numeral(match["count"])
            yield Quantity("count", float(amount), *match.span())
            continue
        share = _share(match)
        if share is not None:
            yield _bounded(Quantity("share", share, *match.span()), lower)


def _share(match: re.Match[str]) -> float | None:
    if match["h"]:
        return float(match["h"]) / 100 if match["h"].isdigit() else numeral(match["h"]) / 100
    if match["tenths"]:
        first, second = _ZH[match["tenths"]], match["tenths2"]
        middle = (first + _ZH[second]) / 2 if second else first + (0.5 if match["half"] else 0)
        return middle / 10
    if match["zhhalf"]:
        return 0.5
    words = (
        (match["en"] or "").removeprefix("a ").removeprefix("one ").removesuffix("s" if "two" not in match[0] else "")
    )
    return _FRACTIONS.get(match["en"] if match["en"] in _FRACTIONS else words)


def numeral(text: str) -> float:
    """A small Chinese numeral.

    >>> numeral("三十"), numeral("十二"), numeral("两"), numeral("四十五")
    (30.0, 12.0, 2.0, 45.0)
    """
    tens, ten, ones = text.rpartition("十")
    if not ten:
        return float(_ZH[text[-1]])
    return (float(_ZH[tens]) if tens else 1.0) * 10 + (float(_ZH[ones]) if ones else 0.0)
