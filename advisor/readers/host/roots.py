"""Where in a tree of files a sosreport or a copy of /proc begins; light, since every folder is asked."""

from __future__ import annotations

from collections.abc import Mapping
from os.path import commonpath

SOS = "sos_commands/"
LEAST = 3
PROC = frozenset(
    ("meminfo", "stat", "loadavg", "vmstat", "cpuinfo", "diskstats", "pressure", "uptime", "net", "mdstat")
)


def sos_roots(files: Mapping[str, object]) -> list[str]:
    """The folders that hold ``sos_commands``, as prefixes of names: one for each machine.

    >>> sos_roots(dict.fromkeys(["n1/sos_commands/date/date", "n1/proc/stat", "n2/sos_commands/date/date"]))
    ['n1/', 'n2/']
    """
    return sorted({name[: name.index(SOS)] for name in files if name.startswith(SOS) or f"/{SOS}" in name})


def sos_root(files: Mapping[str, object]) -> str | None:
    """The prefix of names below which the sosreports are, of one machine or of several; None when there are none."""
    roots = sos_roots(files)
    if len(roots) < 2:
        return roots[0] if roots else None
    shared = commonpath(roots)
    return f"{shared}/" if shared else ""


def proc_root(files: Mapping[str, object]) -> str | None:
    """The folder that holds ``proc``, or is it, when the tree holds nothing else but it and ``sys``.

    >>> proc_root(dict.fromkeys(["n1/proc/meminfo", "n1/proc/stat", "n1/proc/loadavg", "n1/sys/x"]))
    'n1/'
    >>> proc_root(dict.fromkeys(["proc/meminfo", "proc/stat", "proc/loadavg", "train.log"])) is None
    True
    """
    homes: dict[str, set[str]] = {}
    for name in files:
        folder, _, rest = name.rpartition("proc/") if "proc/" in name else ("", "", name)
        if "proc/" not in name or not folder or folder.endswith("/"):
            homes.setdefault(f"{folder}proc/" if "proc/" in name else "", set()).add(rest.partition("/")[0])
    best = max(homes, key=lambda home: len(homes[home] & PROC), default=None)
    if best is None or len(homes[best] & PROC) < LEAST:
        return None
    root = best.removesuffix("proc/")
    ours = (best, f"{root}sys/")
    return root if all(name.startswith(ours) for name in files) else None
