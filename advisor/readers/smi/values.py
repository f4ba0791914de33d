"""Cells as nvidia-smi prints them -> numbers in base units, switches, times.

What a driver cannot tell (``N/A``, ``[Not Supported]``, ``ERR!``, ``Requested functionality has been
deprecated``) is no value. What a broken card says instead of one is found by `broken`.
"""

from __future__ import annotations

import re
from calendar import timegm
from functools import lru_cache

# MB stands for MiB in drivers before 346 and in dmon; the traffic counters of NVML are in kB of 1000 bytes.
FACTORS = {
    "": 1.0,
    "%": 0.01,
    "w": 1.0,
    "c": 1.0,
    "x": 1.0,
    "mb": 2.0**20,
    "mib": 2.0**20,
    "kib": 2.0**10,
    "gib": 2.0**30,
    "gb": 2.0**30,
    "b": 1.0,
    "mhz": 1e6,
    "ghz": 1e9,
    "mw": 1e-3,
    "kb/s": 1e3,
    "mb/s": 1e6,
    "gb/s": 1e9,
}
LARGEST = 1e18  # nothing here has more; what does is damage
_NUMBER = re.compile(r"\s*\[?(-?\d{1,20}(?:\.\d{1,9})?)\s{0,3}([A-Za-z%]{0,3}(?:/s)?)")
_ON = frozenset(("enabled", "enabled*", "on", "yes", "active", "1"))
_OFF = frozenset(("disabled", "disabled*", "off", "no", "not active", "0"))
_LOST = re.compile(r"GPU requires reset|GPU is lost", re.IGNORECASE)
_BROKEN = re.compile(r"ERR!|Unknown Error|" + _LOST.pattern, re.IGNORECASE)
_DAYS = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LONG = re.compile(rf"{_DAYS} +({'|'.join(_MONTHS)}) +(\d{{1,2}}) +(\d\d):(\d\d):(\d\d) +(\d{{4}})")
_SHORT = re.compile(r"(\d{4})[/-]?(\d\d)[/-]?(\d\d)[ T]+(\d\d):(\d\d):(\d\d(?:\.\d{1,9})?)")


@lru_cache(4096)
def number(text: str, unit: str = "") -> float | None:
    """The number of a cell in base units; `unit` is that of the column, for cells without one.

    >>> number("19818 MiB") == 19818 * 2**20, number("50", "%"), number("16x"), number("[N/A]")
    (True, 0.5, 16.0, None)
    """
    match = _NUMBER.match(text)
    if match is None:
        return None
    factor = FACTORS.get((match[2] or unit).lower())
    if factor is None:
        return None
    value = float(match[1]) * factor
    return value if abs(value) < LARGEST else None


def switch(text: str) -> float | None:
    """1 for what is on, active or yes, 0 for what is not; None for anything else.

    >>> switch("Not Active"), switch("Enabled"), switch("N/A")
    (0.0, 1.0, None)
    """
    word = text.strip(" []").lower()
    return 1.0 if word in _ON else 0.0 if word in _OFF else None


def broken(text: str) -> bool:
    """Whether the driver tried to read this value and could not."""
    return _BROKEN.search(text) is not None


def lost(text: str) -> bool:
    """Whether the driver says that the card needs a reset or is gone."""
    return _LOST.search(text) is not None


def told(text: str) -> str | None:
    """A word that says something; None for ``N/A`` and its like."""
    word = text.strip()
    bare = word.strip("[]").lower()
    if not bare or bare in ("n/a", "none", "-", "not supported", "not available") or bare.startswith("requested func"):
        return None
    return None if broken(word) else word


@lru_cache(64)
def moment(text: str) -> float | None:
    """Seconds of a date and time in the text, for differences: the zone is not told.

    >>> moment("Tue Jul 14 08:12:53 2026") - moment("2026/07/14 08:12:38.500")
    14.5
    """
    if match := _LONG.search(text):
        parts = [int(match[6]), _MONTHS.index(match[1]) + 1, int(match[2]), int(match[3]), int(match[4])]
        seconds = float(match[5])
    elif match := _SHORT.search(text):
        parts = [int(match[i]) for i in range(1, 6)]
        seconds = float(match[6])
    else:
        return None
    if not (1 <= parts[1] <= 12 and 1 <= parts[2] <= 31 and 1970 <= parts[0] < 2200):
        return None
    return timegm((parts[0], parts[1], parts[2], parts[3], parts[4], 0)) + seconds
