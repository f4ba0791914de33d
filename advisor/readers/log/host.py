"""Output of host tools and files of /proc in a text: top, free, vmstat, iostat, sar, df, /proc/meminfo, ..."""

from __future__ import annotations

import re

from advisor.errors import InputError
from advisor.readers.host.part import parts
from advisor.readers.host.tools import read
from advisor.readers.log.log import Log
from advisor.readers.told import Told

# Files that say nothing about performance by themselves, when they are all that there is.
ALONE = re.compile(r"\A\s*(?:\d+\.\d\d \d+\.\d\d \d+\.\d\d \d+/\d+ \d+|\d+\.\d\d \d+\.\d\d)\s*\Z|\AInter-\|")


def find(log: Log) -> list[Told]:
    """What the tools say; nothing when none that is known printed anything that can be used.

    Raises:
        InputError: when the text is one file of /proc that says nothing without others.
    """
    readings, _ = read(parts(log))
    if not readings and ALONE.search(log.text):
        raise InputError(
            f"{log.origin} is a file of /proc that means nothing without the number of CPUs or the time since boot; "
            "give the whole folder, or the output of `lscpu; uptime; vmstat 1 5`"
        )
    return [Told(readings, (), None, 0.0, log.origin.rsplit("/", 1)[-1])] if readings else []
