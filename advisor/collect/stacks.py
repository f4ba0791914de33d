"""Where the time goes in the program's own code: sampled stacks -> the function that holds most of it.

Two sources give the same rows: the thread that the training hook runs inside the process, and py-spy from outside
(`pip install advisor[stacks]`), for a process that runs already or is no PyTorch program. A row is one line of the
program's own code with what was running inside it, and how often it was seen.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from advisor.collect.base import Facts, Parsed, Sample
from advisor.collect.training_facts import place

KIND = "stacks"
LEAST = 40  # samples: with fewer a share of a tenth is noise
RATE = 20  # samples a second that py-spy takes
FRAME = re.compile(r"(?P<name>.+) \((?P<file>[^()]+?)(?::(?P<line>\d+))?\)$")
TOKENIZER = re.compile(r"tokeni[sz]|sentencepiece|tiktoken|byte_?pair|\bbpe", re.IGNORECASE)
TOKENIZING = 0.2  # share of the loading time
PARTS = ("_call_impl", "_wrapped_call_impl", "backward", "_engine_run_backward", "grad", "step")
LOADER = f"{os.sep}torch{os.sep}utils{os.sep}data{os.sep}"
TORCH = f"-packages{os.sep}torch{os.sep}"


class Row(NamedTuple):
    """How often one own line was innermost, and in `held` of them the interpreter was busy.

    `kind` says what ran inside the line: own, operator (of torch, called by the line itself), torch (a module, the
    backward pass, the optimizer), loader, library or python (the standard library).
    """

    file: str
    line: int
    function: str
    kind: str
    package: str
    inner: str
    loading: bool
    seen: int
    held: int


def stack_facts(facts: Facts, main: Mapping[str, Any] | None, workers: Sequence[Mapping[str, Any]]) -> None:
    """Facts from the rows of the main process (None when it was not sampled) and of its loader workers."""
    rows = [Row(*row) for row in main["rows"]] if main else []
    cwd = str(main["cwd"]) if main else ""
    total = main["samples"] if main else 0
    if main and total >= LEAST:
        outside = [r for r in rows if not r.loading and r.kind != "torch"]
        _hottest(facts, "process.code.hotspot.fraction", [r for r in outside if r.file], total, cwd)
        if "held" in main:  # only from inside the process can one tell
            facts.share("process.code.interpreter.fraction", sum(r.held for r in outside) / total)
    loading = [r for r in rows if r.loading]
    loading += [Row(*row) for worker in workers for row in worker["rows"] if row[6]]
    fetching = sum(r.seen for r in loading if r.file)
    if fetching >= LEAST:
        _hottest(facts, "ml.dataloader.hotspot.fraction", [r for r in loading if r.file], fetching, cwd)
        _tokenizing(facts, [r for r in loading if r.file], fetching, cwd)


def _tokenizing(facts: Facts, rows: Sequence[Row], total: int, cwd: str) -> None:
    """Whether making batches is to a good part the work of a tokenizer, of a library or of the program's own."""
    found = [r for r in rows if TOKENIZER.search(f"{r.function} {r.package} {r.inner}")]
    if sum(r.seen for r in found) > TOKENIZING * total:
        most = max(found, key=lambda r: (r.seen, r.line))
        where = f"{place(most.file, cwd) if cwd else most.file}:{most.line} in {most.function}"
        facts.add("config.tokenize_on_the_fly", True, "{bool}", where)


def _hottest(facts: Facts, name: str, rows: Iterable[Row], total: int, cwd: str) -> None:
    """The function with most samples, at the line that most of them show."""
    functions: dict[tuple[str, str], dict[int, int]] = {}
    for row in rows:
        lines = functions.setdefault((row.file, row.function), {})
        lines[row.line] = lines.get(row.line, 0) + row.seen
    if not functions:
        return
    hottest = max(functions, key=lambda f: (sum(functions[f].values()), f))
    lines = functions[hottest]
    line = max(lines, key=lambda at: (lines[at], -at))
    file, function = hottest
    said = f"{place(file, cwd) if cwd else file}:{line}"
    where = said if function in ("<module>", "") else f"{said} in {function}"
    facts.share(name, sum(lines.values()) / total, where)


class PySpy:
    """Stacks of a running process through py-spy, which reads its memory from outside and does not stop it."""

    kind = KIND
    origin = "py-spy"
    once = True

    def __init__(self, pid: int | None, seconds: float) -> None:
        self._pid, self._seconds = pid, max(1, math.floor(seconds) - 1)  # starting and writing take a part of a second
        self.takes_s = seconds

    def read(self) -> Sample:
        """py-spy's raw stacks over the window."""
        if self._pid is None:
            raise FileNotFoundError("no process was given, so no stacks were sampled")
        command = _py_spy()
        done = subprocess.run(
            [command, "record", "--pid", str(self._pid), "--duration", str(self._seconds), "--rate", str(RATE),
             "--format", "raw", "--output", "/dev/stdout", "--nonblocking", "--full-filenames", "--idle"],
            capture_output=True, text=True, errors="replace", timeout=self._seconds + 20, check=False,
        )  # fmt: skip
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            if "Failed to find python version" in done.stderr:
                raise FileNotFoundError(f"process {self._pid} is no Python that py-spy knows")
            if "ermission" in done.stderr or "Operation not permitted" in done.stderr:
                raise PermissionError(
                    f"py-spy may not read process {self._pid}; run advisor as its owner with "
                    "kernel.yama.ptrace_scope=0, or as root (in a container: --cap-add SYS_PTRACE)"
                )
            raise RuntimeError(f"py-spy could not read process {self._pid}: {said}")
        cwd = os.readlink(f"/proc/{self._pid}/cwd") if os.path.exists(f"/proc/{self._pid}/cwd") else ""
        return {"stacks": done.stdout, "cwd": cwd}

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """See `stack_facts`."""
        facts = Facts(self.origin)
        last = samples[-1]
        rows = list(raw_rows(last["stacks"]))
        main = {"rows": rows, "samples": sum(r.seen for r in rows), "cwd": last["cwd"]}
        stack_facts(facts, main, ())
        return facts.all(), {}


def raw_rows(text: str) -> Iterator[Row]:
    """Rows of py-spy's raw format: ``outer (file:line);inner (file:line) count`` per line; other threads are left out.

    >>> list(raw_rows("<module> (/w/train.py:9);smooth (/w/train.py:4) 12"))[0][:4]
    ('/w/train.py', 4, 'smooth', 'own')
    """
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [found for part in stack.split(";") if (found := FRAME.match(part))]
        if not frames or not count.isdigit() or _elsewhere(frames[0]):
            continue
        inner = frames[-1]
        kind = _kind(inner["file"])
        direct = kind == "torch"
        own, loading = ("", 0, ""), False
        for frame in reversed(frames):
            what = _kind(frame["file"])
            if not own[0] and frame["name"] in PARTS:
                direct = False
            if what == "own" and not own[0]:
                own = frame["file"], int(frame["line"] or 0), frame["name"]
            if what == "loader":
                loading = True
                break
        yield Row(
            *own, "operator" if direct else kind, "", "" if kind == "own" else inner["name"], loading, int(count), 0
        )


def _elsewhere(outermost: re.Match[str]) -> bool:
    """Whether a stack belongs to a thread that the program started, not to its main one."""
    return outermost["name"] in ("_bootstrap", "_bootstrap_inner") and outermost["file"].endswith("threading.py")


def _kind(file: str) -> str:
    if "-packages" + os.sep in file:
        return "loader" if LOADER in file else "torch" if TORCH in file else "library"
    return "python" if file.startswith("<") or re.search(r"/lib/python3\.\d+/", file) else "own"


def _py_spy() -> str:
    """The py-spy that is installed beside this Python, else on PATH."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.is_file() else shutil.which("py-spy")
    if found is None:
        raise FileNotFoundError("py-spy is not installed; add it with pip install 'advisor[stacks]'")
    return found
