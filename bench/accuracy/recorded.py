"""Recorded scenarios: captures of a machine with a planted cause and of its healthy twin, diagnosed by the real path.

``python bench/accuracy/recorded.py [NAME ...]`` replays all of them (or those whose names begin so) and says whether
the planted cause is the first finding, which serious findings are false, and whether every twin is free of them.
The captures are written from a description (`recorded/*.yaml`) by `captures`, in the formats that the tools print.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from advisor.models import SEVERITIES, Diagnosis
from advisor.pipeline import Advisor
from advisor.readers.read import opened
from bench.accuracy import standin
from bench.accuracy.captures import WRITERS, Machine, merged, nvml

FOLDER = Path(__file__).parent / "recorded"
SERIOUS = SEVERITIES[SEVERITIES.index("serious") :]
LIVE = "nvml"  # the capture that the live collector reads
TAKEN = 1_741_700_000  # when the files were written last, Unix seconds: pages without a clock lie a minute apart


@dataclass(frozen=True)
class Outcome:
    """What one profile was diagnosed with.

    Args:
        scenario: its name.
        kind: gpu, nccl, host, serving, training, trace or nvml.
        truth: the rule that must come first; of a twin the one that must not be found.
        accepted: rules that an expert would accept in its place, `truth` among them.
        also: findings that are true as well, though they are not the cause.
        findings: rule, severity and the rules it explains, in the order shown.
        twin: whether it is the healthy twin.
        verdict: of the diagnosis.
        seconds: that the diagnosis took.
    """

    scenario: str
    kind: str
    truth: str
    accepted: tuple[str, ...]
    also: tuple[str, ...]
    findings: tuple[tuple[str, str, tuple[str, ...]], ...]
    twin: bool
    verdict: str
    seconds: float

    @property
    def right(self) -> bool:
        """Whether the first finding is the planted cause."""
        return bool(self.findings) and self.findings[0][0] in self.accepted

    @property
    def rank(self) -> int | None:
        """The place of the planted cause, from 1; None when it is not found."""
        return next((i for i, (rule, _, _) in enumerate(self.findings, 1) if rule in self.accepted), None)

    @property
    def serious(self) -> tuple[str, ...]:
        """The serious findings."""
        return tuple(rule for rule, severity, _ in self.findings if severity in SERIOUS)

    @property
    def false(self) -> tuple[str, ...]:
        """The serious findings that are not true of this machine."""
        true = () if self.twin else (*self.accepted, *self.also)
        return tuple(rule for rule in self.serious if rule not in true)


def scenarios(*begin: str) -> dict[str, dict[str, Any]]:
    """The descriptions by name, of those names that begin with one of `begin` where it is given."""
    files = sorted(FOLDER.glob("*.yaml"))
    chosen = [f for f in files if not begin or f.stem.startswith(begin)]
    return {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in chosen}


@functools.cache
def _advisor() -> Advisor:
    return Advisor()


def described(name: str, told: Mapping[str, Any], *, twin: bool) -> tuple[Machine, list[str]]:
    """The machine of a scenario, or of its twin, and the captures of it that there are."""
    spec = told["machine"] if twin else merged(told["machine"], told["cause"])
    # A job that lives has no last words: its twin lacks the captures of the failure.
    captures = told.get("twin_captures", told["captures"]) if twin else told["captures"]
    return Machine(name, spec), list(captures)


def replay(name: str, told: Mapping[str, Any], *, twin: bool) -> Outcome:
    """Write the captures of a scenario, or of its twin, and diagnose them."""
    machine, captures = described(name, told, twin=twin)
    with tempfile.TemporaryDirectory() as folder:
        paths = write(machine, captures, Path(folder))
        begin = time.perf_counter()
        found = _diagnose(machine, paths) if LIVE in captures else _advisor().diagnose_files(paths)
        seconds = time.perf_counter() - begin
    findings = tuple((f.rule.id, f.rule.severity, f.explains) for d in found for f in d.findings)
    accepted = (told["truth"], *(told.get("accepted") or {}))
    also = tuple(told.get("also") or {})
    verdict = ", ".join(d.verdict for d in found)
    return Outcome(name, told["kind"], told["truth"], accepted, also, findings, twin, verdict, seconds)


def write(machine: Machine, captures: Sequence[str], folder: Path) -> list[Path]:
    """The files of the captures; what the driver's library answers is no file."""
    paths = []
    for capture in captures:
        for number, (name, text) in enumerate(WRITERS[capture](machine).items() if capture != LIVE else ()):
            path = folder / name
            path.write_text(text, encoding="utf-8")
            os.utime(path, (TAKEN + 60 * number, TAKEN + 60 * number))
            paths.append(path)
    return paths


def _diagnose(machine: Machine, paths: Sequence[Path]) -> list[Diagnosis]:
    """What the driver's library says, joined with what the files say."""
    live = standin.read(nvml.answers(machine))
    if not paths:
        return [_advisor().diagnose_readings([live], subject=machine.name, started="", duration_s=6.0)]
    with opened(paths) as found:
        (told,) = found.runs
        readings = [live, *told.readings]
        return [_advisor().diagnose_readings(readings, subject=machine.name, started="", duration_s=told.seconds)]


def outcomes(*begin: str) -> list[Outcome]:
    """Every scenario and its twin, diagnosed; scenarios in order of their names."""
    return [replay(name, told, twin=twin) for name, told in scenarios(*begin).items() for twin in (False, True)]


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927, JASA 22).

    >>> [round(x, 3) for x in wilson(57, 60)]
    [0.863, 0.983]
    """
    if not count:
        return 0.0, 1.0
    p, square = right / count, z * z / count
    middle = (p + square / 2) / (1 + square)
    half = z * math.sqrt(p * (1 - p) / count + square / count / 4) / (1 + square)
    return middle - half, middle + half


def table(found: Sequence[Outcome]) -> str:
    """One line per scenario, then the totals."""
    lines = [f"{'scenario':<34} {'first finding':<30} ok rank  serious and false; of the twin"]
    twins = {o.scenario: o for o in found if o.twin}
    planted = [o for o in found if not o.twin]
    for o in planted:
        first = o.findings[0][0] if o.findings else f"({o.verdict})"
        twin = twins[o.scenario]
        wrong = ", ".join(o.false) or "-"
        mark, other = "ok" if o.right else "NO", ", ".join(twin.false) or "-"
        lines.append(f"{o.scenario:<34} {first:<30} {mark} {o.rank or '-':>4}  {wrong}; {other}")
    return "\n".join([*lines, "", totals(found)])


def totals(found: Sequence[Outcome]) -> str:
    """First place with its interval, recall, precision of serious findings, clean twins."""
    planted, twins = [o for o in found if not o.twin], [o for o in found if o.twin]
    right = sum(o.right for o in planted)
    low, high = wilson(right, len(planted))
    found_at_all = sum(o.rank is not None for o in planted)
    serious, false = sum(len(o.serious) for o in found), sum(len(o.false) for o in found)
    clean = sum(not o.false for o in twins)
    return (
        f"{len(planted)} scenarios: first place {right} ({right / max(1, len(planted)):.1%}, 95 % interval {low:.1%} "
        f"to {high:.1%}), found at any place {found_at_all} ({found_at_all / max(1, len(planted)):.1%})\n"
        f"serious findings: {serious - false} of {serious} true (precision {1 - false / max(1, serious):.1%}); "
        f"twins without a serious finding: {clean} of {len(twins)}\n"
        f"median time to a verdict: {sorted(o.seconds for o in found)[len(found) // 2]:.3f} s"
    )


def main() -> None:
    """Print the table; exit 1 when first place is below 95 % or a twin has a serious finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help="only scenarios whose names begin so")
    parser.add_argument("--write", type=Path, help="write the captures here instead of diagnosing them")
    args = parser.parse_args()
    if args.write:
        for name, told in scenarios(*args.name).items():
            for twin in (False, True):
                folder = args.write / (f"{name}-twin" if twin else name)
                folder.mkdir(parents=True, exist_ok=True)
                write(*described(name, told, twin=twin), folder)
        return
    found = outcomes(*args.name)
    print(table(found))
    planted = [o for o in found if not o.twin]
    if sum(o.right for o in planted) < 0.95 * len(planted) or any(o.false for o in found if o.twin):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
