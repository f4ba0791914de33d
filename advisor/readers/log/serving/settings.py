"""The settings that a server writes down when it starts -> `config.*` facts.

vLLM prints ``config: model='m', tensor_parallel_size=2, ...``, ``non-default args: {...}`` and, in
older releases, ``args: Namespace(...)``; SGLang prints ``server_args=ServerArgs(...)``. All of them
are ``name=value`` or ``'name': value``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from advisor.readers.log.log import Log
from advisor.readers.log.serving.clock import line_end
from advisor.readers.rows import Row, row

MAX_DUMP = 30_000  # characters of one dump that are looked at
_PAIR = re.compile(
    r"""(?<![\w.])['"]?([a-z][a-z0-9_]{2,40})['"]?\s{0,2}(?:=|:\s)\s{0,2}"""
    r"""('[^'\n]{0,300}'|"[^"\n]{0,300}"|[\w.+-]{1,80})"""
)
_NONE = ("None", "null", "")
Setting = tuple[str, str]  # value, where


def dumped(log: Log, sign: re.Pattern[str]) -> dict[str, Setting]:
    """The settings on the lines where `sign` is found: the first dump after the last start has the word."""
    found: dict[str, Setting] = {}
    for match in sign.finditer(log.text):
        line = log.text[match.end() : line_end(log.text, match.end(), MAX_DUMP)]
        where = log.where(match.start())
        seen: set[str] = set()
        for name, value in _PAIR.findall(line):
            if name not in seen:  # nested settings repeat names of the outer ones
                seen.add(name)
                found[name] = (value.strip("'\""), where)
    return found


def shared(told: Mapping[str, Setting]) -> Iterator[Row]:
    """Facts of settings that servers call alike."""
    yield _count("config.tensor_parallel.size", told, "{gpu}", "tensor_parallel_size", "tp_size")
    yield _count("config.pipeline.stages", told, "{stage}", "pipeline_parallel_size", "pp_size")
    yield _count("config.context.length", told, "{token}", "max_seq_len", "max_model_len", "context_length")
    yield _text("config.quantization", told, "quantization", none="none")
    yield _text("config.kv_cache.dtype", told, "kv_cache_dtype", "cache_dtype")
    yield _text("config.model.dtype", told, "dtype", skip=("auto",))
    yield _flag("config.enforce_eager", told, "enforce_eager", "disable_cuda_graph")
    offload = number(told, "cpu_offload_gb")
    if offload is not None:
        yield row("config.offload", offload[0] > 0, "{bool}", offload[1])


def number(told: Mapping[str, Setting], *names: str) -> tuple[float, str] | None:
    """The first of the settings that is a number, and where it stands."""
    for name in names:
        value, where = told.get(name, ("", ""))
        try:
            return float(value), where
        except ValueError:
            continue
    return None


def flag(told: Mapping[str, Setting], *names: str) -> tuple[bool, str] | None:
    """The first of the settings that is true or false, and where it stands."""
    for name in names:
        value, where = told.get(name, ("", ""))
        if value.lower() in ("true", "false"):
            return value.lower() == "true", where
    return None


def _count(fact: str, told: Mapping[str, Setting], unit: str, *names: str) -> Row:
    found = number(told, *names)
    return row(fact, found[0], unit, found[1]) if found and found[0] >= 1 else row(fact, None, unit)


def _flag(fact: str, told: Mapping[str, Setting], *names: str) -> Row:
    found = flag(told, *names)
    return row(fact, found[0], "{bool}", found[1]) if found else row(fact, None, "{bool}")


def _text(
    fact: str, told: Mapping[str, Setting], *names: str, none: str | None = None, skip: tuple[str, ...] = ()
) -> Row:
    """A setting in words; `none` is the word for a setting that is given and empty."""
    name = next((n for n in names if n in told), None)
    if name is None:
        return row(fact, None, "{string}")
    value, where = told[name]
    value = value.removeprefix("torch.")
    if value in _NONE:
        return row(fact, none, "{string}", where)
    return row(fact, None if value in skip else value, "{string}", where)
