"""A calculation as it is worked out: inputs with their origin, steps with the formula, assumptions, results, blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from advisor.answer.sizing.inputs import Inputs, Value
from advisor.blocks import Block
from advisor.models import Lang
from advisor.text import localise, plain

Origin = Literal["stated", "carried", "assumed"]
_SIZES = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_COUNTS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1.0, ""))
_RATES = ((1e12, "TB/s"), (1e9, "GB/s"), (1e6, "MB/s"), (1.0, "B/s"))
_TIMES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


@dataclass(frozen=True, slots=True)
class Calculation:
    """One calculation: its kind, what went in (value and origin), what came out (value and unit), and how to show it.

    `known` is what a later message starts from: everything stated or carried, with the kind. `question` asks for the
    one input without which the result would mean nothing; None when there is none.
    """

    kind: str
    inputs: Mapping[str, tuple[Value, Origin]]
    results: Mapping[str, tuple[float, str]]
    blocks: list[Block] = field(default_factory=list)
    question: str | None = None

    @property
    def known(self) -> Mapping[str, Value]:
        """What was stated, here or before, for `Inputs.merged`."""
        return {"kind": self.kind, **{k: v for k, (v, origin) in self.inputs.items() if origin != "assumed"}}


def _scaled(value: float, steps: tuple[tuple[float, str], ...], space: str = " ") -> str:
    size, unit = next((s for s in steps if abs(value) >= s[0]), steps[-1])
    return f"{plain(float(f'{value / size:.3g}'))}{space if unit else ''}{unit}"


def size(value: float) -> str:
    """Bytes in binary units, as nvidia-smi and PyTorch count.

    >>> size(16e9), size(2**19)
    ('14.9 GiB', '512 KiB')
    """
    return _scaled(value, _SIZES)


def count(value: float) -> str:
    """A number of parameters or tokens.

    >>> count(7.62e9), count(2048)
    ('7.62B', '2,048')
    """
    return plain(value) if value < 1e6 else _scaled(value, _COUNTS, "")


def rate(value: float) -> str:
    """Bytes per second in decimal units, as links are rated.

    >>> rate(3.125e9)
    '3.12 GB/s'
    """
    return _scaled(value, _RATES)


def duration(value: float) -> str:
    """A time.

    >>> duration(4.48), duration(0.0817), duration(90000)
    ('4.48 s', '81.7 ms', '1.04 d')
    """
    return _scaled(value, _TIMES)


class Sheet:
    """Collects one calculation in one language."""

    def __init__(self, inputs: Inputs, own: Mapping[str, Value], lang: Lang) -> None:
        self.kind, self.lang, self._values = inputs.kind, lang, inputs.values
        self._origin: dict[str, tuple[Value, Origin]] = {
            key: (value, "stated" if key in own else "carried") for key, value in inputs.values.items()
        }
        self._steps: list[Block] = []
        self._assumed: list[str] = []
        self._changes: list[Block] = []
        self.results: dict[str, tuple[float, str]] = {}

    def say(self, en: str, zh: str) -> str:
        """One sentence in the language of the answer."""
        return localise(en if self.lang == "en" else zh, self.lang)

    def has(self, *keys: str) -> bool:
        """Whether all of them were stated."""
        return all(key in self._values for key in keys)

    def text(self, key: str, otherwise: str = "") -> str:
        """A word that was stated."""
        return str(self._values.get(key, otherwise))

    def stated(self, key: str, otherwise: float = 0.0) -> float:
        """A number that was stated."""
        return float(self._values.get(key, otherwise))

    def number(self, key: str, otherwise: float, en: str, zh: str) -> float:
        """A number that was stated, else an assumption that the answer lists."""
        if key not in self._values:
            self.assume(key, otherwise, en, zh)
            return otherwise
        return float(self._values[key])

    def word(self, key: str, otherwise: str, en: str, zh: str) -> str:
        """A word that was stated, else an assumption that the answer lists."""
        if key not in self._values:
            self.assume(key, otherwise, en, zh)
            return otherwise
        return str(self._values[key])

    def assume(self, key: str, value: Value, en: str, zh: str) -> None:
        """List an assumption."""
        self._origin[key] = (value, "assumed")
        self._assumed.append(self.say(en, zh))

    def step(self, en: str, zh: str, formula: str, shown: str) -> None:
        """One line of the working: what it is and its result, and below it the formula with the numbers in it."""
        colon = ": " if self.lang == "en" else "："
        self._steps.append({"text": f"{self.say(en, zh)}{colon}{shown}", "note": f"`{formula}`"})

    def change(self, en: str, zh: str, working: str) -> None:
        """One change that would make it fit, with its figure."""
        self._changes.append({"text": self.say(en, zh), "note": working})

    def result(self, name: str, value: float, unit: str) -> float:
        """Keep a result."""
        self.results[name] = (value, unit)
        return value

    def finish(self, title: str, lede: str, question: str | None = None) -> Calculation:
        """The calculation: headline, working, changes, assumptions."""
        blocks: list[Block] = [{"kind": "headline", "title": title, "lede": lede}]
        sections = (
            (self.say("Working", "计算过程"), self._steps),
            (self.say("What would make it fit", "怎样才放得下"), self._changes),
            (self.say("Assumptions", "假设"), [{"text": text, "note": None} for text in self._assumed]),
        )
        blocks += [
            {"kind": "prose", "title": name, "paragraphs": [], "points": points} for name, points in sections if points
        ]
        if question:
            blocks.append({"kind": "prose", "title": None, "paragraphs": [question], "points": []})
        return Calculation(self.kind, self._origin, self.results, blocks, question)

    def refuse(self, en: str, zh: str) -> Calculation:
        """One sentence instead of a calculation: the inputs make no sense."""
        said: Block = {"kind": "prose", "title": None, "paragraphs": [self.say(en, zh)], "points": []}
        return Calculation(self.kind, self._origin, {}, [said])
