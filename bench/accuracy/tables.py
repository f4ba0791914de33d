"""Outcomes as Markdown: the figures of each tool side by side, what came first for which cause, and every miss."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bench.accuracy.outcome import (
    NOTHING,
    Outcome,
    confusion,
    false_alarms,
    first_place,
    judged,
    precision,
    recall,
    times,
)

ByTool = Mapping[str, Sequence[Outcome]]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def figures(by_tool: ByTool) -> list[str]:
    """One column per tool, one row per figure; shares with their 95 % interval."""
    rows = {
        "right cause first": [str(first_place(o)) for o in by_tool.values()],
        "cause found at any place (recall)": [str(recall(o)) for o in by_tool.values()],
        "serious findings that are true (precision)": [str(precision(o)) for o in by_tool.values()],
        "healthy twins with a serious finding": [str(false_alarms(o)) for o in by_tool.values()],
        "from the end of the program, or the files at hand, to the verdict; median and longest": [
            _seconds(o, end=True) for o in by_tool.values()
        ],
        "from the start to the verdict": [_seconds(o, end=False) for o in by_tool.values()],
        "runs without a verdict": [str(len(o) - len(judged(o))) for o in by_tool.values()],
    }
    return table(["", *by_tool], [[name, *cells] for name, cells in rows.items() if any(c != "-" for c in cells)])


def _seconds(outcomes: Sequence[Outcome], *, end: bool) -> str:
    """Median and longest; recordings have no start."""
    numbers = [o.seconds if end else o.total for o in judged(outcomes)]
    numbers = [n for n in numbers if n and not math.isnan(n)]
    return "{:.1f} s, {:.1f} s".format(*times(numbers)) if numbers else "-"


def firsts(by_tool: ByTool) -> list[str]:
    """The confusion matrix without its zeros: for each planted cause what each tool said first, right ones in bold.

    The last row has the twins: their first serious finding.
    """
    counted = [confusion(outcomes) for outcomes in by_tool.values()]
    planted: dict[str, set[str]] = {}
    for o in (o for outcomes in by_tool.values() for o in outcomes if not o.twin):
        planted.setdefault(o.truth, set()).add(o.scenario)
    rows = [
        [f"`{truth}` ({', '.join(sorted(scenarios))})", *(_cell(c.get(truth, Counter())) for c in counted)]
        for truth, scenarios in planted.items()
    ]
    twins = [_cell(c.get(NOTHING, Counter())) for c in counted]
    return table(["planted", *by_tool], [*rows, ["nothing (healthy twins)", *twins]])


def _cell(said: Counter[tuple[str, bool]]) -> str:
    """What came first and how often, most frequent first."""
    parts = [f"**{first}** {n}" if right else f"{first} {n}" for (first, right), n in said.most_common()]
    return "<br>".join(parts) or "no verdict"


def misses(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Every run that went wrong, one line each."""
    for o in judged(outcomes):
        if o.twin and o.alarms:
            yield f"twin of {o.scenario}: {', '.join(told[0] for told in o.alarms)}"
        elif not o.twin and not o.right:
            yield f"{o.scenario}: {o.first} came first instead of {o.truth}"


def failures(by_tool: ByTool) -> Iterator[str]:
    """Which tool could not be run on what, and why, each reason once."""
    seen: dict[tuple[str, str, str], int] = {}
    for tool, outcomes in by_tool.items():
        for o in outcomes:
            if o.failed:
                key = (tool, f"{o.scenario}{' (twin)' if o.twin else ''}", o.failed)
                seen[key] = seen.get(key, 0) + 1
    for (tool, scenario, why), count in seen.items():
        yield f"{tool} on {scenario}: {why}" + (f" ({count} times)" if count > 1 else "")
