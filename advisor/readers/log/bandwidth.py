"""Bandwidth of collectives -> facts: tables of nccl-tests and rccl-tests, and all_reduce benchmarks of PyTorch.

A text may hold several tables, of one system or of several; each gives one reading, in their order. Bus bandwidth
levels out at some tens of MiB only, so of a sweep the largest message is told, and the average that the program
prints under a sweep of small messages beside it.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field

from advisor.models import Reading, Source
from advisor.readers.log.log import Log
from advisor.readers.rows import Row, facts, row
from advisor.readers.told import Told

KIND = "log"
LARGE = 32 << 20  # bytes; see the rule busbw-below-expectation
MAX_LINE = 2000
_HEADER = re.compile(r"#? *(?P<columns>(?:size|bytes)\b[^\n]{0,200}\balgbw +busbw[^\n]{0,200})")
_TIMES = ("time", "algbw", "busbw")
_AVERAGE = re.compile(r"# *Avg bus bandwidth *: *(?P<value>\d{1,7}(?:\.\d{1,9})?)")
_DEVICE = re.compile(
    r"# *Rank +(?P<rank>\d{1,6}) (?:Group +\d{1,6} )?Pid +\d{1,9} (?:on +(?P<host>\S{1,128}) )?"
    r"device +\d{1,4} \[[^\]\n]{1,20}\] (?P<model>[^\n]{1,80})"
)
_COLLECTIVE = re.compile(
    r"\b(?P<name>all_?reduce|all_?gather|reduce_?scatter|all_?to_?all\w?|broadcast|reduce|sendrecv|hypercube|scatter|"
    r"gather)_perf\b"
)
_MARKDOWN = re.compile(
    r"\| *(?P<size>\d{1,6}(?:\.\d+)?) ?(?P<unit>[KMGT]?i?B) *\| *(?P<bus>\d{1,6}\.\d{1,4}) ?GBps *"
    r"\| *(?P<algo>\d{1,6}\.\d{1,4}) ?GBps *\|"
)
_ALGO_ONLY = re.compile(r"algo throughput: (?P<algo>\d{1,18}\.\d{1,6}) bps")
_BUS_ONLY = re.compile(r"busbw: (?P<bus>\d{1,9}\.\d{1,6}) +Gbps")
_SIZE = re.compile(r"(?P<rank>\d{1,6}) data size: (?P<size>\d{1,6}\.\d{1,4}) GB")
_MEAN = re.compile(
    r"average bandwidth of all_reduce with an? (?P<size>\d{1,6}(?:\.\d{1,6})?) ?GB payload "
    r"\(\d{1,6} trials, (?P<ranks>\d{1,7}) ranks\)[^\n]{0,20}\n"
    r"[^\n]{0,160}?algbw: (?P<algo>\d{1,7}\.\d{1,6}) GBps[^\n]{0,80}\n"
    r"[^\n]{0,160}?busbw: (?P<bus>\d{1,7}\.\d{1,6}) GBps"
)
_SCALE = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_NO_NAME = ("Graphics Device", "Device")


@dataclass
class Table:
    """One run of a benchmark: per message its size in bytes, and bandwidths in bytes per second."""

    at: int
    columns: tuple[str, ...] = ()
    sizes: list[float] = field(default_factory=list)
    bus: list[list[float]] = field(default_factory=list)
    algo: list[list[float]] = field(default_factory=list)
    largest_at: int = 0
    average: tuple[float, int] | None = None
    ranks: int = 0
    hosts: int = 0
    model: str = ""
    collective: str = ""
    reports: int = 1

    def mean(self) -> float | None:
        """The average of all bus bandwidths, as printed where it was."""
        if self.average:
            return self.average[0]
        values = [v for row_ in self.bus for v in row_]
        return statistics.fmean(values) if values else None

    def largest(self) -> tuple[float, float, float] | None:
        """Size, bus and algorithm bandwidth of the largest message."""
        if not self.sizes:
            return None
        i = max(range(len(self.sizes)), key=lambda j: (self.sizes[j], j))
        return self.sizes[i], statistics.fmean(self.bus[i]), statistics.fmean(self.algo[i])


def find(log: Log) -> list[Told]:
    """One reading per table or benchmark; the first one's facts are those of the profile."""
    tables = [t for t in (*_tables(log), *_markdown(log), *_benchmarks(log)) if t.sizes or t.average]
    tables.sort(key=lambda t: t.at)
    readings = []
    for i, table in enumerate(tables, 1):
        found = facts((*_rows(table, log), *_scaling(table, tables, log)), log.origin)
        readings.append(Reading(Source(KIND, log.origin, "ok", _note(table, i, len(tables))), found))
    return [Told(tuple(readings))] if readings else []


def _rows(table: Table, log: Log) -> Iterator[Row]:
    mean, largest = table.mean(), table.largest()
    where = log.where(table.average[1] if table.average else table.largest_at)
    level = mean if largest is None or min(table.sizes) >= LARGE else largest[1]
    yield row("comm.busbw", level, "By/s", where)
    yield row("comm.busbw.average", mean if len(table.sizes) != 1 else None, "By/s", where)
    if largest:
        yield row("comm.algbw", largest[2] or None, "By/s", log.where(table.largest_at))
        yield row("comm.busbw.message_size", largest[0] or None, "By", log.where(table.largest_at))
    yield row("config.distributed.world_size", table.ranks or None, "{rank}")
    yield row("config.distributed.nodes", table.hosts or None, "{host}")
    yield row("hw.gpu.model", table.model or None, "{string}")
    yield row("run.gpu.used", True if table.model else None, "{bool}")


def _scaling(table: Table, tables: list[Table], log: Log) -> Iterator[Row]:
    """For the table of most ranks: its bandwidth over that of fewest, at the largest message that both sent."""
    known = [t for t in tables if t.ranks and t.sizes and t.collective == table.collective]
    if len(known) < 2 or table is not max(known, key=lambda t: t.ranks):
        return
    few = min(known, key=lambda t: t.ranks)
    both = set(few.sizes) & set(table.sizes)
    other_machine = few.model and table.model and few.model != table.model
    if few.ranks < table.ranks and both and max(both) >= LARGE and not other_machine:
        levels = [statistics.fmean(t.bus[t.sizes.index(max(both))]) for t in (table, few)]
        if levels[1] > 0:
            yield row("comm.busbw.scaling.ratio", levels[0] / levels[1], "1", log.where(table.largest_at))


def _note(table: Table, i: int, count: int) -> str:
    which = f"table {i} of {count}, " if count > 1 else ""
    mean, largest = table.mean(), table.largest()
    parts = [f"{which}{table.collective or 'collective'} benchmark"]
    if table.ranks:
        parts.append(f"on {table.ranks} ranks")
    if largest:
        parts.append(f"{largest[1] / 1e9:.1f} GB/s bus bandwidth at {largest[0] / 2**20:,.6g} MiB")
    if table.reports > 1:
        parts.append(f"the last of {table.reports} reports")
    elif mean is not None and len(table.sizes) != 1:
        parts.append(f"average {mean / 1e9:.3f} GB/s over {len(table.sizes)} message sizes")
    return ", ".join(parts) + "."


# --- tables of nccl-tests -------------------------------------------------------------


def _tables(log: Log) -> Iterator[Table]:
    """Tables in order; what stands between two headers belongs to the next one."""
    table: Table | None = None
    devices: dict[int, tuple[str, str]] = {}
    collective = ""
    at = 0
    for line in log.lines():
        if len(line) <= MAX_LINE:
            if name := _COLLECTIVE.search(line):
                collective = name["name"]
            if device := _DEVICE.search(line):
                if device["rank"] == "0":
                    devices.clear()
                devices[int(device["rank"])] = (device["host"] or "", device["model"].strip())
            elif header := _HEADER.search(line):
                if table:
                    yield table
                table = _begin(at, header["columns"], devices, collective)
                devices, collective = {}, ""
            elif table:
                _fill(table, line, at)
        at += len(line) + 1
    if table:
        yield table


def _begin(at: int, columns: str, devices: dict[int, tuple[str, str]], collective: str) -> Table:
    ranks = max(devices, default=-1) + 1
    hosts = {host for host, _ in devices.values() if host}
    models = {model for _, model in devices.values() if not model.endswith(_NO_NAME)}
    return Table(
        at,
        tuple(columns.split()),
        ranks=ranks,
        hosts=len(hosts) if len(devices) == ranks else 0,
        model=models.pop() if len(models) == 1 else "",
        collective=collective,
    )


def _fill(table: Table, line: str, at: int) -> None:
    if average := _AVERAGE.search(line):
        table.average = table.average or (float(average["value"]) * 1e9, at)
        return
    cells = line.replace(">:", ">: ").split()[-len(table.columns) :]
    if table.average or len(cells) < len(table.columns) or not cells[0].isdigit():
        return
    timed = [
        (_number(cells[i + 1]), _number(cells[i + 2]))
        for i in range(len(cells) - 2)
        if table.columns[i : i + 3] == _TIMES and _number(cells[i]) is not None
    ]
    good = [(algo, bus) for algo, bus in timed if algo is not None and bus is not None]
    if not good or len(cells[0]) > 18:
        return
    if not table.sizes or float(cells[0]) >= max(table.sizes):
        table.largest_at = at
    table.sizes.append(float(cells[0]))
    table.algo.append([algo * 1e9 for algo, _ in good])
    table.bus.append([bus * 1e9 for _, bus in good])


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,12}(?:\.\d{1,9})?", text) else None


# --- benchmarks of PyTorch ------------------------------------------------------------


def _markdown(log: Log) -> Iterator[Table]:
    table: Table | None = None
    end = 0
    for match in _MARKDOWN.finditer(log.text):
        if match["unit"] not in _SCALE:
            continue
        if table is None or log.text.count("\n", end, match.start()) > 1:
            if table:
                yield table
            table = Table(match.start(), collective="all_reduce")
        table.sizes.append(float(match["size"]) * _SCALE[match["unit"]])
        table.bus.append([float(match["bus"]) * 1e9])
        table.algo.append([float(match["algo"]) * 1e9])
        table.largest_at, end = match.start(), match.end()
    if table:
        yield table


def _benchmarks(log: Log) -> Iterator[Table]:
    for match in _MEAN.finditer(log.text):
        table = Table(match.start(), largest_at=match.start(), collective="all_reduce", ranks=int(match["ranks"]))
        table.sizes, table.bus = [float(match["size"]) * 1e9], [[float(match["bus"]) * 1e9]]
        table.algo = [[float(match["algo"]) * 1e9]]
        yield table
    yield from _reports(log)


def _reports(log: Log) -> Iterator[Table]:
    """What every rank prints per trial.

    The first trials set connections up and are slower, and the outputs of the ranks are mixed line by line, so the
    last report stands for the run.
    """
    algo = [float(m["algo"]) / 8 for m in _ALGO_ONLY.finditer(log.text)]
    bus = [(float(m["bus"]) * 1e9 / 8, m.start()) for m in _BUS_ONLY.finditer(log.text)]
    if not algo or not bus:
        return
    sizes = {int(m["rank"]): float(m["size"]) * 1e9 for m in _SIZE.finditer(log.text)}
    table = Table(bus[0][1], largest_at=bus[-1][1], collective="all_reduce", reports=len(bus))
    table.ranks = max(sizes) + 1 if sizes and len(sizes) == max(sizes) + 1 else 0
    table.sizes = [max(sizes.values(), default=0.0)]
    table.bus, table.algo = [[bus[-1][0]]], [[algo[-1]]]
    yield table
