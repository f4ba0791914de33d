"""Sentences that libraries, launchers and the kernel's helpers print, one pattern each -> facts.

`SYMPTOMS` is the table. A line that is harmless (the order of lr_scheduler.step, for example) is not in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from advisor.models import Reading, Source, Value
from advisor.readers.log.log import Log
from advisor.readers.log.near import near
from advisor.readers.rows import Row, facts, row
from advisor.readers.told import Told

KIND = "log"
_LAST_WORDS = 300  # characters before a message of a worker that was killed because the program ended
_PARTING = "Exception ignored in"


@dataclass(frozen=True, slots=True)
class Symptom:
    """A pattern and the fact that it gives.

    Args:
        fact: the fact's name.
        unit: of its value.
        words: one of them is near it.
        pattern: what is printed.
        value: the fact's value; None counts distinct messages.
        numbered: whether the value is the number in the pattern's group, the largest where there are several.
    """

    fact: str
    unit: str
    words: tuple[str, ...]
    pattern: re.Pattern[str]
    value: Value | None = None
    numbered: bool = False


def _s(
    fact: str, unit: str, words: tuple[str, ...], pattern: str, value: Value | None = None, numbered: bool = False
) -> Symptom:
    return Symptom(fact, unit, words, re.compile(pattern), value, numbered)


SYMPTOMS = (
    _s(
        "system.filesystem.shm.errors",
        "{error}",
        ("/torch_", "/dev/shm", "shared memory", "Bus error"),
        r"It is possible that dataloader's workers are out of shared memory|unable to open shared memory object|"
        r"unable to write to file </torch_|unable to mmap \d{1,20} bytes from file </torch_|"
        r"No space left on device: '/dev/shm|DataLoader worker \(pid \d{1,10}\) is killed by signal: Bus error",
    ),
    _s(
        "process.open_file_descriptor.errors",
        "{error}",
        ("oo many open files", "ancdata"),
        r"Too many open files|received 0 items of ancdata|Too many open files\. Communication with the workers",
    ),
    _s(
        "ml.dataloader.worker.killed",
        "{worker}",
        ("orker (pid",),
        r"DataLoader worker \(pid(?:\(s\))? \d{1,10}[^)\n]{0,200}\) is killed by signal: Killed|"
        r"DataLoader worker \(pid\(s\) \d{1,10}[^)\n]{0,200}\) exited unexpectedly",
    ),
    _s(
        "ml.dataloader.timeouts",
        "{error}",
        ("DataLoader timed",),
        r"DataLoader timed out after \d{1,7}(?:\.\d)? seconds",
    ),
    _s(
        "process.killed.count",
        "{process}",
        ("Killed", "exitcode", "SIGKILL"),
        r"(?m:^[^\n]{0,120}?: line \d{1,6}: {1,8}\d{1,10} Killed\b)|(?m:^(?:\[\d{1,4}\]\+? {1,8}\d{0,10} *)?Killed *$)|"
        r"exitcode {0,4}: -9 \(pid: \d{1,10}\)|died with <Signals\.SIGKILL: 9>|"
        r"Signal 9 \(SIGKILL\) received by PID \d{1,10}",
    ),
    _s(
        "container.memory.oom_kills",
        "{kill}",
        ("oom_kill", "oom-kill"),
        r"[Dd]etected (\d{1,6}) oom[-_]kill event",
        numbered=True,
    ),
    _s(
        "trace.recompile.count",
        "{event}",
        ("hit config.",),
        r"torch\._dynamo hit config\.(?:recompile|cache_size|accumulated_recompile|"
        r"accumulated_cache_size)_limit \((\d{1,6})\)",
        numbered=True,
    ),
    _s("trace.recompile.limit_hit", "{bool}", ("hit config.",), r"torch\._dynamo hit config\.\w{0,40}_limit", True),
    _s("config.compile.enabled", "{bool}", ("hit config.",), r"torch\._dynamo hit config\.\w{0,40}_limit", True),
    _s(
        "config.ddp.find_unused_parameters",
        "{bool}",
        ("find_unused_parameters=True was",),
        r"find_unused_parameters=True was specified in DDP constructor, but did not find any unused parameters",
        True,
    ),
    _s(
        "ml.ddp.stride_mismatch",
        "{bool}",
        ("Grad strides do not",),
        r"Grad strides do not match bucket view strides",
        True,
    ),
    _s(
        "config.dataloader.num_workers",
        "{worker}",
        ("orker processes in total",),
        r"This DataLoader will create (\d{1,6}) worker processes in total",
        numbered=True,
    ),
    _s(
        "process.cpu.usable.count",
        "{cpu}",
        ("suggested max number of worker",),
        r"[Oo]ur suggested max number of worker in current system is (\d{1,6})",
        numbered=True,
    ),
    _s(
        "config.tokenizers.parallelism",
        "{bool}",
        ("just got forked",),
        r"huggingface/tokenizers: The current process just got forked, after parallelism has already been used",
        False,
    ),
    _s(
        "config.omp_num_threads",
        "{thread}",
        ("OMP_NUM_THREADS",),
        r"Setting OMP_NUM_THREADS environment variable for each process to be (\d{1,4}) in default",
        numbered=True,
    ),
)


def find(log: Log) -> list[Told]:
    """What is in the table and in the text."""
    hits = [(symptom, found) for symptom in SYMPTOMS if (found := list(_hits(symptom, log)))]
    if not hits:
        return []
    rows = [_row(symptom, found, log) for symptom, found in hits]
    told = [found[0].start() for symptom, found in hits if not symptom.numbered] or [hits[0][1][0].start()]
    said = dict.fromkeys(log.text[at : at + 100].split("\n")[0].strip(" >") for at in told)
    note = f"It says: {'; '.join(said)[:400]}."
    return [Told((Reading(Source(KIND, log.origin, "ok", note), facts([*rows, *_implied(rows)], log.origin)),))]


def _hits(symptom: Symptom, log: Log) -> Iterator[re.Match[str]]:
    return (m for m in near(log.text, symptom.words, symptom.pattern) if not _parting(symptom, m.start(), log))


def _row(symptom: Symptom, found: Sequence[re.Match[str]], log: Log) -> Row:
    where = log.where(found[0].start())
    if symptom.value is not None:
        return row(symptom.fact, symptom.value, symptom.unit, where)
    if symptom.numbered:
        told = [float(next(g for g in match.groups() if g)) for match in found]
        return row(symptom.fact, max(told), symptom.unit, where)
    return row(symptom.fact, len({_line(match) for match in found}), symptom.unit, where)


def _line(match: re.Match[str]) -> str:
    """The line that a match begins in, which several patterns may fit."""
    text, at = match.string, match.start()
    start = text.rfind("\n", max(0, at - 400), at) + 1 or max(0, at - 400)
    end = text.find("\n", at, at + 400)
    return text[start : end if end >= 0 else at + 400].strip()


def _parting(symptom: Symptom, at: int, log: Log) -> bool:
    """Whether workers were ended by a program that is over; they are reported as killed then too."""
    return symptom.fact.startswith("ml.dataloader.worker") and _PARTING in log.text[max(0, at - _LAST_WORDS) : at]


def _implied(rows: list[Row]) -> Iterator[Row]:
    names = {name for name, *_ in rows}
    if names & {"ml.dataloader.timeouts", "trace.recompile.count", "config.ddp.find_unused_parameters"}:
        yield row("run.framework", "pytorch", "{string}")
    if names & {"config.ddp.find_unused_parameters", "ml.ddp.stride_mismatch"}:
        yield row("run.phase", "training", "{string}")
