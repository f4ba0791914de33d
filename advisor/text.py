"""Language, templates, and numbers with units: everything needed to put facts into words.

The language is chosen last: texts travel in both languages (`models.Text`) and a face
picks one. Traditional Chinese is converted from Simplified by OpenCC, with Taiwan's
vocabulary (内存 becomes 記憶體), when a face asks for it.
"""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections.abc import Callable, Mapping

from advisor.models import Fact, FactSpec, Lang, Phrase, Text, Value, Values

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)\}")
_CJK = re.compile(r"[\u3400-\u9fff]")


# --- language -------------------------------------------------------------------------


def detect(question: str) -> Lang:
    """The language a question is written in.

    A question with at least two Chinese characters is Chinese, also when most of it is
    English terms; it is Traditional when more of its characters are Traditional only
    than Simplified only.

    >>> detect("why is my training slow?"), detect("为什么训练这么慢"), detect("為什麼訓練這麼慢")
    ('en', 'zh-Hans', 'zh-Hant')
    """
    if len(_CJK.findall(question)) < 2:
        return "en"
    traditional = _changed(question, _converter("t2s"))
    return "zh-Hant" if traditional > _changed(question, _converter("s2t")) else "zh-Hans"


def has_chinese(text: str) -> bool:
    """Whether there is a Chinese character in it.

    >>> has_chinese("GPU 利用率低"), has_chinese("GPU is idle")
    (True, False)
    """
    return _CJK.search(text) is not None


def _changed(text: str, convert: Callable[[str], str]) -> int:
    return sum(a != b for a, b in zip(text, convert(text), strict=False))


def locale_language(environ: Mapping[str, str] | None = None) -> Lang:
    """The language of the user's locale (LC_ALL, LC_MESSAGES, LANG), English when unset."""
    environ = os.environ if environ is None else environ
    name = next((environ[k] for k in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(k)), "")
    if not name.lower().startswith("zh"):
        return "en"
    return "zh-Hant" if re.search(r"tw|hk|mo|hant", name, re.IGNORECASE) else "zh-Hans"


def localise(text: str, lang: Lang) -> str:
    """Finished Simplified Chinese text in the script of `lang`; other languages pass unchanged."""
    return _converter("s2twp")(text) if lang == "zh-Hant" else text


def to_simplified(text: str) -> str:
    """Traditional Chinese in Simplified script and mainland vocabulary, so that one index serves both."""
    return _converter("tw2sp")(text)


@functools.cache
def _converter(config: str) -> Callable[[str], str]:
    import opencc

    convert: Callable[[str], str] = opencc.OpenCC(config).convert
    return convert


def fold(text: str) -> str:
    """Full-width to half-width and Traditional to Simplified Chinese; case and line breaks stay.

    >>> fold("ＧＰＵ 使用率 30％，記憶體不足")
    'GPU 使用率 30%,内存不足'
    """
    folded = unicodedata.normalize("NFKC", text)
    if not has_chinese(folded) or _converter("t2s")(folded) == folded:
        return folded  # what is Simplified already would lose words that mean something else in Taiwan, such as 文件
    return to_simplified(folded)


# --- numbers --------------------------------------------------------------------------


def plain(value: float) -> str:
    """A number with three significant digits and no unit.

    >>> plain(6.0), plain(0.0512), plain(1234.6), plain(12.34)
    ('6', '0.0512', '1,235', '12.3')
    """
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{float(f'{value:.3g}'):.10g}"


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    for size, unit in steps:
        if abs(value) >= size:
            return f"{plain(value / size)} {unit}"
    size, unit = steps[-1]
    return f"{plain(value / size)} {unit}"


_SECONDS = ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_BYTES = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_RATES = ((1e12, "TB/s"), (1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1.0, "B/s"))
_FLOPS = ((1e15, "PFLOP/s"), (1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1e6, "MFLOP/s"))
_HERTZ = ((1e9, "GHz"), (1e6, "MHz"), (1.0, "Hz"))


def percent(share: float, lang: Lang = "en") -> str:
    """A share as a percentage: two digits above 10 %, one decimal below.

    >>> percent(0.4932), percent(0.0032), percent(0.05, "zh-Hans")
    ('49 %', '0.3 %', '5%')
    """
    points = share * 100
    shown = f"{points:.0f}" if abs(points) >= 10 else f"{points:.1f}".removesuffix(".0")
    return f"{shown}%" if lang != "en" else f"{shown} %"


def quantity(value: Value, spec: FactSpec | None, lang: Lang = "en") -> str:
    """A value the way a person reads it, with the unit of its fact.

    >>> quantity(0.153, FactSpec("ml.step.time", "s", "number", ""))
    '153 ms'
    """
    if isinstance(value, bool):
        return ("yes" if value else "no") if lang == "en" else ("是" if value else "否")
    if isinstance(value, str):
        return value
    unit = spec.unit if spec else "1"
    if unit == "1":
        return percent(value, lang) if spec and spec.high == 1 else plain(value)
    scales = {"s": _SECONDS, "By": _BYTES, "By/s": _RATES, "{flop}/s": _FLOPS, "Hz": _HERTZ}
    if unit in scales:
        return _scaled(value, scales[unit])
    suffix = {"Cel": " °C", "W": " W", "By/step": " B/step"}.get(unit)
    if suffix is None:
        per = unit.partition("/")[2]
        suffix = f"/{per}" if per else ""
    return plain(value) + suffix


def speedup(factor: float) -> str:
    """A speed-up factor.

    >>> speedup(1.9607), speedup(13.2)
    ('1.96x', '13x')
    """
    return f"{factor:.0f}x" if factor >= 10 else f"{factor:.2f}".rstrip("0").rstrip(".") + "x"


# --- templates ------------------------------------------------------------------------


def placeholders(template: str) -> tuple[str, ...]:
    """The facts a template names.

    >>> placeholders("num_workers={derived.dataloader.workers.recommended}")
    ('derived.dataloader.workers.recommended',)
    """
    return tuple(dict.fromkeys(PLACEHOLDER.findall(template)))


def fill(template: Text, values: Values, specs: Mapping[str, FactSpec]) -> Text:
    """A sentence with its facts in words, in both languages; an unknown fact is written as "unknown"."""

    def one(text: str, lang: Lang) -> str:
        def replace(match: re.Match[str]) -> str:
            value = values.get(match[1])
            if value is None:
                return "unknown" if lang == "en" else "未知"
            return quantity(value, specs.get(match[1]), lang)

        return PLACEHOLDER.sub(replace, text)

    return Text(one(template.en, "en"), one(template.zh, "zh-Hans"))


def fill_setting(template: str | None, values: Values) -> str | None:
    """A setting with bare values (``num_workers=6``), or None when a fact it needs is unknown."""
    if template is None or any(name not in values for name in placeholders(template)):
        return None

    def replace(match: re.Match[str]) -> str:
        value = values[match[1]]
        if isinstance(value, bool | str):
            return str(value)
        return str(int(value)) if value == int(value) else f"{value:.4g}"

    return PLACEHOLDER.sub(replace, template)


def label(fact: str, specs: Mapping[str, FactSpec]) -> Text:
    """What a person reads for a fact: its label, else its name."""
    spec = specs.get(fact)
    return spec.label if spec and spec.label else Text(fact, fact)


def where(fact: Fact) -> str:
    """Where a fact was measured: the source, and the line of the user's code when known."""
    return f"{fact.origin} · {fact.where}" if fact.where else fact.origin


# --- phrases --------------------------------------------------------------------------

REACH = 80  # characters between two parts of a phrase


def parse_phrase(text: str) -> Phrase:
    """A phrase as written in a knowledge file: parts that follow each other, ``*`` between them, ``|`` in one part.

    >>> parse_phrase(".item()|.cpu() * slow|takes")
    (('.item()', '.cpu()'), ('slow', 'takes'))
    """
    parts = (part.split("|") for part in text.lower().split("*"))
    return tuple(tuple(word for raw in part if (word := raw.strip())) for part in parts)


def says(text: str, phrase: Phrase) -> bool:
    """Whether folded lower-case text holds the parts of a phrase in order, each near the one before.

    A part begins where a word begins and may be the beginning of a longer word. Plain searches only: the time
    grows with the length of the text and not with what stands in it.

    >>> says("loss.item() is so slow", parse_phrase(".item() * slow")), says("below", parse_phrase("low"))
    (True, False)
    """
    first, *rest = phrase
    at = _find(text, first, 0, len(text))
    while at:
        end = at
        for part in rest:
            found = _find(text, part, end, min(len(text), end + REACH))
            if not found:
                break
            end = found
        else:
            return True
        at = _find(text, first, at, len(text))
    return False


def _find(text: str, words: tuple[str, ...], start: int, stop: int) -> int:
    """The end of the word that comes first between two places, 0 when there is none."""
    best, end = stop, 0
    for word in words:
        at = text.find(word, start, stop)
        while at > 0 and _inside(text, at, word):
            at = text.find(word, at + 1, stop)
        if 0 <= at < best:
            best, end = at, at + len(word)
    return end


def _inside(text: str, at: int, word: str) -> bool:
    """Whether the place is inside a longer word."""
    before = text[at - 1]
    return word[0].isascii() and word[0].isalnum() and before.isascii() and (before.isalnum() or before == "_")


# --- names ----------------------------------------------------------------------------

_FOLDERS = re.compile(r"(?:^|(?<=, ))(?:\.{0,2}/|[\w.-]+/)(?:[^/,]+/)*")


def brief_origin(origin: str) -> str:
    """A file without the folders it lies in; files of the kernel and addresses as they are.

    >>> brief_origin("/data/run/trace.json:7"), brief_origin("/proc/stat"), brief_origin("http://gpu1:8000/metrics")
    ('trace.json:7', '/proc/stat', 'http://gpu1:8000/metrics')
    """
    if "://" in origin or origin.startswith(("/proc", "/sys", "/dev")):
        return origin
    return _FOLDERS.sub("", origin)
