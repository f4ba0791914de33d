"""Numbers and units as people write them, and a text from which they are taken one by one."""

from __future__ import annotations

import re

from advisor.answer.sizing.inputs import Value

_NUMERALS = {
    **dict.fromkeys(["single", "one", "单", "一"], 1),
    **dict.fromkeys(["two", "dual", "双", "两", "二"], 2),
    **dict.fromkeys(["three", "三"], 3),
    **dict.fromkeys(["four", "quad", "四"], 4),
    **dict.fromkeys(["six", "六"], 6),
    **dict.fromkeys(["eight", "八"], 8),
    **dict.fromkeys(["sixteen", "十六"], 16),
    **dict.fromkeys(["三十二"], 32),
}
COUNT = (
    r"(?<![a-z0-9_.])(?P<n>\d{1,5}|single|one|two|dual|three|four|quad|six|eight|sixteen"
    r"|三十二|十六|单|一|双|两|二|三|四|六|八)"
)
NUMBER = r"(\d[\d,]*(?:\.\d+)?)"
SCALE = {
    **dict.fromkeys(["k", "千", "thousand"], 1e3),
    **dict.fromkeys(["万"], 1e4),
    **dict.fromkeys(["m", "million", "百万"], 1e6),
    **dict.fromkeys(["亿"], 1e8),
    **dict.fromkeys(["b", "bn", "billion", "十亿"], 1e9),
    **dict.fromkeys(["t", "trillion", "万亿"], 1e12),
}
SECONDS = {
    **dict.fromkeys(["us", "µs", "μs", "微秒"], 1e-6),
    **dict.fromkeys(["ms", "毫秒", "millisecond", "milliseconds"], 1e-3),
    **dict.fromkeys(["s", "sec", "secs", "second", "seconds", "秒"], 1.0),
    **dict.fromkeys(["min", "mins", "minute", "minutes", "分钟"], 60.0),
    **dict.fromkeys(["h", "hr", "hour", "hours", "小时"], 3600.0),
    **dict.fromkeys(["d", "day", "days", "天"], 86400.0),
}
_UNIT = "|".join(sorted(map(re.escape, SECONDS), key=len, reverse=True))
TIME = rf"(\d+(?:\.\d+)?) ?({_UNIT})(?![a-z])"
BYTES = {
    "kb": 1e3,
    "mb": 1e6,
    "gb": 1e9,
    "tb": 1e12,
    "mib": 2.0**20,
    "gib": 2.0**30,
    "tib": 2.0**40,
    "g": 1e9,
    "m": 1e6,
}


def numeral(text: str) -> float:
    """A count in digits or words.

    >>> numeral("两"), numeral("16"), numeral("1,024")
    (2.0, 16.0, 1024.0)
    """
    return float(_NUMERALS[text]) if text in _NUMERALS else float(text.replace(",", ""))


def context_length(number: str, suffix: str | None) -> float:
    """Tokens: k is 1024 for the usual powers of two, else a thousand.

    >>> context_length("32", "k"), context_length("10", "k"), context_length("4096", None)
    (32768.0, 10000.0, 4096.0)
    """
    value = numeral(number)
    if suffix == "k":
        return value * (1024 if value in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) else 1000)
    return value * SCALE.get(suffix or "", 1.0)


class Reader:
    """The text that is still to be read, and the values found so far."""

    def __init__(self, plain: str) -> None:
        self.text = plain
        self.values: dict[str, Value] = {}

    def take(self, pattern: str) -> re.Match[str] | None:
        """The first match, which is then blanked out."""
        match = re.search(pattern, self.text, re.ASCII)  # \b and \w must see an edge between "lora" and "微调"
        if match:
            self.cut(match)
        return match

    def cut(self, match: re.Match[str]) -> None:
        """Blank out what was read."""
        self.text = f"{self.text[: match.start()]} ; {self.text[match.end() :]}"

    def number(self, key: str, *patterns: str) -> None:
        """The first pattern that matches gives the value: its group 1, scaled by group 2 where it has one."""
        for pattern in patterns:
            if match := self.take(pattern):
                scale = SCALE.get(match[2] or "", 1.0) if match.re.groups > 1 else 1.0
                self.values[key] = numeral(match[1]) * scale
                return
