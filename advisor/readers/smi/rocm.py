"""JSON of rocm-smi and amd-smi -> facts, under the same names as those of other GPUs.

rocm-smi (``-a --json``) gives flat texts per card whose wording changed over the releases: they are
matched by words. Cards number a list of clock levels through, and PCIe is one of them, so the
link's generation is that of the level in use. amd-smi (``metric``, ``monitor``, ``static``) nests values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, Tick, decode
from advisor.readers.smi.facts import reading
from advisor.readers.smi.look import Look, Moment
from advisor.readers.smi.values import number, told
from advisor.readers.told import Told

MAX_BYTES = 32 << 20
MAX_DEPTH = 24
MOST = 1024  # cards
_CARD = re.compile(r"card(\d{1,3})$")
# Wording over the releases -> key, unit where none is in the text; the first that is told counts.
_ROCM: Sequence[tuple[re.Pattern[str], str, str]] = tuple(
    (re.compile(pattern), key, unit)
    for pattern, key, unit in (
        (r"GPU use \(%\)", "util", "%"),
        (r"VRAM Total Used Memory \(B\)", "used", "B"),
        (r"VRAM Total Memory \(B\)", "total", "B"),
        (r"(?:Average|Current Socket) Graphics Package Power \(W\)", "power", "W"),
        (r"(?:Current Socket|Average Socket|Socket) .*Power \(W\)", "power", "W"),
        (r"Max Graphics Package Power \(W\)", "limit", "W"),
        (r"Temperature \(Sensor edge\) \(C\)", "temperature", "C"),
        (r"Temperature \(Sensor junction\) \(C\)", "temperature", "C"),
        (r"PCIe Replay Count", "replays", ""),
        (r"sclk clock speed:?", "sm", "MHz"),
    )
)
_CLOCK = re.compile(r"\(?(\d{1,6})\s*M[Hh]z\)?")
_LINK = re.compile(r"(\d{1,3}(?:\.\d)?)\s*GT/s x(\d{1,2})")
# Transfers per second of PCIe 1 to 6.
_GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}
_NAMES = ("Card Series", "Card series", "Device Name", "Card Model", "Card model")
# Path in amd-smi -> key, unit where none is given. Metric, monitor and static name things differently.
_AMD: Sequence[tuple[tuple[str, ...], str, str]] = (
    (("usage", "gfx_activity"), "util", "%"),
    (("usage", "gfx_usage"), "util", "%"),
    (("gfx",), "util", "%"),
    (("gfx_util",), "util", "%"),
    (("mem_usage", "used_vram"), "used", "MB"),
    (("fb_usage", "fb_used"), "used", "MB"),
    (("vram_used",), "used", "MB"),
    (("mem_usage", "total_vram"), "total", "MB"),
    (("fb_usage", "fb_total"), "total", "MB"),
    (("vram_total",), "total", "MB"),
    (("vram", "size"), "total", "MB"),
    (("power", "socket_power"), "power", "W"),
    (("power", "average_socket_power"), "power", "W"),
    (("power", "current_socket_power"), "power", "W"),
    (("power_usage",), "power", "W"),
    (("limit", "socket_power"), "limit", "W"),
    (("limit", "ppt0", "socket_power_limit"), "limit", "W"),
    (("limit", "power_cap"), "limit", "W"),
    (("power", "power_limit"), "limit", "W"),
    (("temperature", "edge"), "temperature", "C"),
    (("temperature", "hotspot"), "temperature", "C"),
    (("temperature", "junction"), "temperature", "C"),
    (("hotspot_temperature",), "temperature", "C"),
    (("clock", "gfx_0", "clk"), "sm", "MHz"),
    (("clock", "gfx_0", "max_clk"), "sm_max", "MHz"),
    (("clock", "gfx", "clk"), "sm", "MHz"),
    (("gfx_clk",), "sm", "MHz"),
    (("pcie", "width"), "width", ""),
    (("pcie", "replay_count"), "replays", ""),
    (("bus", "max_pcie_width"), "width_max", ""),
    (("ecc", "total_uncorrectable_count"), "ecc", ""),
)
_AMD_SPEEDS = ((("pcie", "speed"), "gen"), (("bus", "max_pcie_speed"), "gen_max"))


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What each file says; each is of a machine or a time of its own.

    Raises:
        InputError: when one is damaged or tells nothing of a GPU.
    """
    return [_read(artefact, tick) for artefact in artefacts]


def _read(artefact: Artefact, tick: Tick) -> Told:
    import msgspec

    text = decode(artefact.read(MAX_BYTES, tick)).strip()
    try:
        document = msgspec.json.decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(
            f"{artefact.origin} is JSON of rocm-smi or amd-smi that is damaged or cut off ({error}); take it again"
        ) from None
    look = parse(document)
    if look.empty:
        raise InputError(
            f"{artefact.origin} is JSON of rocm-smi or amd-smi that tells nothing of load, memory or power; "
            "take it with `rocm-smi -a --json` or `amd-smi metric --json`"
        )
    return reading([look], artefact.origin, lambda _: None, ["AMD GPU: its load is that of the graphics engine"])


def parse(document: Any) -> Look:
    """The state of every GPU in a document."""
    look = Look("rocm-smi", 0, 0, [Moment()])
    if isinstance(document, dict) and any(_CARD.match(str(key)) for key in document):
        for name, values in list(document.items())[:MOST]:
            if (match := _CARD.match(name)) and isinstance(values, dict):
                card(look, match[1], values)
        system = document.get("system")
        look.say("", "driver", _text(system.get("Driver version")) if isinstance(system, dict) else None)
    else:
        look.form = "amd-smi"
        for gpu in _gpus(document):
            _amd(look, gpu)
    if not any(look.moments[0].gpus.values()):
        look.moments = []
        look.words = {}
    else:
        look.attached = len(look.moments[0].gpus)
    return look


def card(look: Look, gpu: str, values: Mapping[str, Any]) -> None:
    """What rocm-smi says of one card, by its own wording."""
    now = look.moments[0]
    for pattern, key, unit in _ROCM:
        for name, value in values.items():
            if pattern.fullmatch(name) and isinstance(value, str):
                clock = _CLOCK.search(value)
                now.put(gpu, key, number(clock[1] if clock else value, unit))
    _rocm_link(now, gpu, values)
    names = [_text(values.get(name)) for name in _NAMES]
    look.say(gpu, "name", next((name for name in names if name and not name.startswith("0x")), None))
    look.say(gpu, "bus", _text(values.get("PCI Bus")))


def _rocm_link(now: Moment, gpu: str, card: Mapping[str, Any]) -> None:
    """The link in use, and the fastest that is listed: levels are named by bare numbers."""
    current = _LINK.search(_text(card.get("pcie clock level")) or "")
    listed = [m for k, v in card.items() if k.isdigit() and isinstance(v, str) and (m := _LINK.search(v))]
    if current:
        _link(now, gpu, "gen", "width", current)
        fastest = max([current, *listed], key=lambda match: float(match[1]) * int(match[2]))
        _link(now, gpu, "gen_max", "width_max", fastest)


def _link(now: Moment, gpu: str, gen: str, width: str, match: re.Match[str]) -> None:
    now.put(gpu, gen, _GENERATIONS.get(float(match[1])))
    now.put(gpu, width, float(match[2]))


def _gpus(document: Any) -> Iterator[Mapping[str, Any]]:
    """The objects of one GPU each; newer releases put them in ``gpu_data``."""
    if isinstance(document, dict):
        document = document.get("gpu_data", [document])
    for item in document[:MOST] if isinstance(document, list) else []:
        if isinstance(item, dict) and isinstance(item.get("gpu"), int) and 0 <= item["gpu"] < MOST:
            yield item


def _amd(look: Look, item: Mapping[str, Any]) -> None:
    gpu, now = str(item["gpu"]), look.moments[0]
    for path, key, unit in _AMD:
        now.put(gpu, key, _value(_inside(item, path), unit))
    for path, key in _AMD_SPEEDS:
        speed = _value(_inside(item, path), "")
        now.put(gpu, key, None if speed is None else _GENERATIONS.get(speed))
    for path, word in ((("asic", "market_name"), "name"), (("bus", "bdf"), "bus")):
        look.say(gpu, word, _text(_inside(item, path)))
    look.say("", "driver", _text(_inside(item, ("driver", "version"))))
    processes = item.get("process_list")
    if isinstance(processes, list):
        now.put(gpu, "processes", float(sum(isinstance(p, dict) for p in processes)))


def _inside(item: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = item
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _value(cell: Any, unit: str) -> float | None:
    """A number, bare, as text, or with its unit beside it."""
    if isinstance(cell, dict):
        unit = _text(cell.get("unit")) or unit
        cell = cell.get("value")
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    if "/" in unit and unit.lower() not in ("kb/s", "mb/s"):
        unit = ""  # GT/s: kept as it is
    return number(f"{cell:f}" if isinstance(cell, float) else str(cell), unit)


def _text(cell: Any) -> str | None:
    return told(cell[:200]) if isinstance(cell, str) else None
