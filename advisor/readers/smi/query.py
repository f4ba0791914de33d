"""The long query (``nvidia-smi -q``), as text and as XML: where each value stands and what it means.

Both forms name the same things nearly alike: a place is section and key in lower-case letters
and digits only. Names changed over the drivers: Power Readings became GPU Power Readings (530),
Clocks Throttle Reasons became Clocks Event Reasons (535).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from advisor.readers.smi.look import Look, Moment
from advisor.readers.smi.values import broken, lost, number, switch, told

Place = tuple[str, str]
# Per key of the state: unit where none is printed, and places, the one that is believed most first.
# "*" stands for any section.
NUMBERS: Mapping[str, tuple[str, Sequence[Place]]] = {
    "util": ("%", (("gpuutilizationsamples", "avg"), ("utilization", "gpu"), ("utilization", "gpuutil"))),
    "encoder": (
        "%",
        (("encoderutilizationsamples", "avg"), ("utilization", "encoder"), ("utilization", "encoderutil")),
    ),
    "decoder": (
        "%",
        (("decoderutilizationsamples", "avg"), ("utilization", "decoder"), ("utilization", "decoderutil")),
    ),
    "used": ("MiB", (("fbmemoryusage", "used"), ("memoryusage", "used"))),
    "total": ("MiB", (("fbmemoryusage", "total"), ("memoryusage", "total"))),
    "temperature": ("C", (("temperature", "gpucurrenttemp"), ("temperature", "gputemp"), ("temperature", "gpu"))),
    "margin": ("C", (("temperature", "gputlimittemp"), ("temperature", "gputemptlimit"))),
    "slowdown": ("C", (("temperature", "gpuslowdowntemp"), ("temperature", "gputempslowthreshold"))),
    # The table and dmon show the mean over a second where the card has it.
    "power": (
        "W",
        tuple(
            (section, key)
            for key in ("powerdraw", "averagepowerdraw", "instantaneouspowerdraw", "instantpowerdraw")
            for section in ("gpupowerreadings", "powerreadings")
        ),
    ),
    "limit": (
        "W",
        tuple(
            (section, key)
            for key in ("enforcedpowerlimit", "currentpowerlimit", "powerlimit", "requestedpowerlimit")
            for section in ("gpupowerreadings", "powerreadings")
        ),
    ),
    "default": ("W", (("gpupowerreadings", "defaultpowerlimit"), ("powerreadings", "defaultpowerlimit"))),
    "sm": ("MHz", (("smclocksamples", "avg"), ("clocks", "sm"), ("clocks", "smclock"))),
    "sm_max": ("MHz", (("maxclocks", "sm"), ("maxclocks", "smclock"))),
    "gen": ("", (("pciegeneration", "current"), ("pciegen", "currentlinkgen"))),
    "gen_max": ("", (("pciegeneration", "max"), ("pciegen", "maxlinkgen"))),
    "width": ("", (("linkwidth", "current"), ("linkwidths", "currentlinkwidth"))),
    "width_max": ("", (("linkwidth", "max"), ("linkwidths", "maxlinkwidth"))),
    "tx": ("KB/s", (("*", "txthroughput"), ("pci", "txutil"))),
    "rx": ("KB/s", (("*", "rxthroughput"), ("pci", "rxutil"))),
    "replays": ("", (("*", "replayssincereset"), ("pci", "replaycounter"))),
    "remapped": ("", (("remappedrows", "uncorrectableerror"), ("remappedrows", "remappedrowunc"))),
}
# Values that are a sum of their parts: the section is inside of volatile, aggregate or retired pages.
SUMS: Mapping[str, Sequence[Place]] = {
    "ecc": tuple(
        ("volatile", key)
        for key in (
            "sramuncorrectable", "sramuncorrectableparity", "sramuncorrectablesecded", "dramuncorrectable",
            "doublebit.total",
        )
    ),
    "sram": tuple(
        ("aggregate", key) for key in ("sramuncorrectable", "sramuncorrectableparity", "sramuncorrectablesecded")
    ),
    "retired": (
        ("retiredpages", "singlebitecc"), ("retiredpages", "doublebitecc"),
        ("multiplesinglebitretirement", "retiredcount"), ("doublebitretirement", "retiredcount"),
    ),
}  # fmt: skip
SWITCHES: Mapping[str, Sequence[Place]] = {
    "persistence": (("*", "persistencemode"),),
    "mig": (("migmode", "current"), ("migmode", "currentmig")),
    "remap_pending": (("remappedrows", "pending"), ("remappedrows", "remappedrowpending")),
    "remap_failed": (("remappedrows", "remappingfailureoccurred"), ("remappedrows", "remappedrowfailure")),
    "retired_pending": (
        ("retiredpages", "pendingpageblacklist"), ("retiredpages", "pendingblacklist"),
        ("retiredpages", "pendingretirement"), ("retiredpages", "pending"),
    ),
    "throttle.power_cap": (("*", "swpowercap"),),
    "throttle.hw_slowdown": (("*", "hwslowdown"),),
    "throttle.sw_thermal": (("*", "swthermalslowdown"),),
    "throttle.hw_thermal": (("*", "hwthermalslowdown"),),
    "throttle.power_brake": (("*", "hwpowerbrakeslowdown"),),
    "throttle.app_clocks": (("*", "applicationsclockssetting"),),
    "throttle.sync_boost": (("*", "syncboost"),),
    "throttle.display_clocks": (("*", "displayclocksetting"), ("*", "displayclockssetting")),
}  # fmt: skip
WORDS: Mapping[str, Sequence[Place]] = {
    "name": (("*", "productname"),),
    "uuid": (("*", "gpuuuid"), ("*", "uuid")),
    "mode": (("*", "computemode"),),
    "fabric": (("fabric", "state"),),
    "recovery": (("*", "gpurecoveryaction"),),
}
MACHINE = {
    "driver": ("driverversion", "kmdversion"),
    "cuda": ("cudaversion", "cudaumdversion"),
    "time": ("timestamp",),
    "attached": ("attachedgpus",),
}
_REASON = re.compile(r"^clocks_(?:throttle|event)_reason_")
_OTHER = re.compile(r"[^a-z0-9]")
Cells = dict[Place, str]


def plain(name: str) -> str:
    """A name as `Place` writes it.

    >>> plain("FB Memory Usage"), plain("clocks_event_reason_sw_power_cap")
    ('fbmemoryusage', 'swpowercap')
    """
    return _OTHER.sub("", _REASON.sub("", name.lower()))


def add(look: Look, moment: Moment, gpu: str, cells: Cells) -> None:
    """What the cells of one GPU say."""
    anywhere = {key: value for (_, key), value in reversed(cells.items())}

    def found(places: Sequence[Place]) -> list[str]:
        return [value for s, k in places if (value := anywhere.get(k) if s == "*" else cells.get((s, k))) is not None]

    for name, (unit, places) in NUMBERS.items():
        told_here = (number(cell, unit) for cell in found(places))
        moment.put(gpu, name, next((value for value in told_here if value is not None), None))
    for name, places in SUMS.items():
        counts = [count for cell in found(places) if (count := number(cell)) is not None]
        moment.put(gpu, name, sum(counts) if counts else None)
    for name, places in SWITCHES.items():
        told_here = (switch(cell) for cell in found(places))
        moment.put(gpu, name, next((value for value in told_here if value is not None), None))
    for name, places in WORDS.items():
        look.say(gpu, name, next((word for cell in found(places) if (word := told(cell))), None))
    _finish(moment.gpus.get(gpu, {}))
    # A failed fan or a power sensor that the driver cannot read is no broken card.
    if any(lost(cell) for cell in cells.values()) or any(map(broken, found(NUMBERS["temperature"][1]))):
        look.broken.add(gpu)


def _finish(state: dict[str, float]) -> None:
    """The margin where the driver gives thresholds instead, and both kinds of heat together."""
    slowdown = state.pop("slowdown", None)
    if slowdown is not None and "temperature" in state:
        state.setdefault("margin", slowdown - state["temperature"])
    thermal = [state[key] for key in ("throttle.sw_thermal", "throttle.hw_thermal") if key in state]
    if thermal:
        state["throttle.thermal"] = max(thermal)
