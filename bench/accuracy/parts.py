"""The parts of the bench: each judges what it has and returns its section of the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.accuracy import live, tables
from bench.accuracy.outcome import ALARMING, Outcome, Share, false_alarms, first_place
from bench.accuracy.scenarios import SCENARIOS

SHORT = ("collate", "float64", "python-loop")
FIRST_PLACE = 0.95

NOTES = [
    "A verdict is right when its first finding names the planted cause, or a finding that explains it. Of TraceML "
    "and alloc the right family is enough: `bench/accuracy/peers_map.py` lists for which causes each of their "
    "findings counts, also where it says no more than that the step is slow because of compute. TraceML runs on copies "
    "of the scripts with the lines that its quick start asks for, alloc with `run --full` and then `diagnose`. "
    "Intervals are Wilson's for 95 %; runs of one scenario resemble each other, so they are somewhat too narrow.",
    "",
]


@dataclass(frozen=True)
class Options:
    """How much is run.

    Args:
        rounds: how often each live scenario.
        only: a part, or a live scenario; empty for all.
        short: a few scenarios once, without the peers.
    """

    rounds: int = 3
    only: str = ""
    short: bool = False


@dataclass(frozen=True)
class Section:
    """What a part measured: its title, its Markdown, and every goal that was missed."""

    title: str
    lines: Sequence[str]
    missed: Sequence[str] = ()


def live_part(options: Options) -> Section:
    """The planted causes of `examples/`, run for real, beside the peers."""
    chosen = [s for s in SCENARIOS if s.name == options.only]
    chosen = chosen or [s for s in live.here() if not options.short or s.name in SHORT]
    tools = {"advisor": live.advisor} if options.short else live.TOOLS
    by_tool = live.outcomes(chosen, 1 if options.short else options.rounds, tools)
    own = by_tool["advisor"]
    missed = [*goals(own), *(f"advisor had no verdict on {o.scenario}: {o.failed}" for o in own if o.failed)]
    ahead = first_place(own).value
    missed += [f"not ahead of {n}" for n, o in by_tool.items() if o is not own and first_place(o).value >= ahead]
    title = f"Live: {len(chosen)} planted causes of `examples/` and their healthy twins"
    return Section(title, _report(by_tool, NOTES), missed)


def recorded_part() -> Section:
    """Recordings of what cannot be run here: GPUs, NCCL, serving."""
    from bench.accuracy.recorded import outcomes

    found = [
        Outcome(o.scenario, o.kind, o.truth, o.accepted, o.findings, o.twin, o.seconds, also=o.also) for o in outcomes()
    ]
    planted = len({o.scenario for o in found if not o.twin})
    return Section(
        f"Recorded: {planted} scenarios and their healthy twins", _report({"advisor": found}, []), goals(found)
    )


def fleet_part() -> Section:
    """Healthy profiles of many kinds: every serious finding is a false alarm."""
    from advisor.pipeline import Advisor
    from bench.accuracy.fleet import documents

    judge = Advisor()
    blamed, verdicts = [], dict.fromkeys(("healthy", "inconclusive", "bottleneck"), 0)
    for name, document in documents():
        diagnosis = judge.diagnose(document)
        verdicts[diagnosis.verdict] += 1
        serious = [f.rule.id for f in diagnosis.findings if f.rule.severity in ALARMING]
        blamed += [f"{name}: {', '.join(serious)}"] if serious else []
    of = sum(verdicts.values())
    rows = [["profiles with a serious finding", str(Share(len(blamed), of))]]
    rows += [[f"verdict {verdict}", f"{count}"] for verdict, count in verdicts.items()]
    lines = [*tables.table(["", "advisor"], rows), *_listed("Falsely blamed", blamed)]
    return Section(f"Baseline: {of} healthy profiles", lines, blamed)


def questions_part() -> Section:
    """Questions of people: the topic, and what is declined."""
    from bench.accuracy.questions import report

    lines, missed = report()
    return Section("Questions", lines, missed)


def goals(outcomes: Sequence[Outcome]) -> list[str]:
    """What was promised and not kept."""
    first, alarms = first_place(outcomes), false_alarms(outcomes)
    missed = [f"right cause first in {first}, not {FIRST_PLACE:.0%}"] if first.of and first.value < FIRST_PLACE else []
    return missed + ([f"serious findings on healthy twins: {alarms}"] if alarms.part else [])


def _report(by_tool: tables.ByTool, notes: Sequence[str]) -> list[str]:
    """The tables, the notes, and every miss."""
    lines = [*tables.figures(by_tool), "", *notes, *tables.firsts(by_tool)]
    lines += _listed("Wrong verdicts of advisor", [*tables.misses(by_tool["advisor"])])
    return lines + _listed("Runs without a verdict", [*tables.failures(by_tool)])


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"{title}:", "", *(f"- {line}" for line in lines)] if lines else []


# in the order of the report; `--only` takes these names
PARTS: dict[str, Callable[[Options], Section]] = {
    "live": live_part,
    "recorded": lambda _: recorded_part(),
    "fleet": lambda _: fleet_part(),
    "questions": lambda _: questions_part(),
}
