"""The commands that look at something: a run, this machine, files, servers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from advisor.cli.shared import Options, keep, open_advisor, print_json, print_page, show, write_file
from advisor.errors import AdvisorError, InputError
from advisor.models import SEVERITIES, Lang
from advisor.text import locale_language

if TYPE_CHECKING:
    from advisor.collect.probe import Probe
    from advisor.models import Diagnosis
    from advisor.pipeline import Advisor

LIVE_S = 1.0  # between two pictures of a run
KEEP_S = 5.0  # between two stored states of a run
SECONDS = 10.0  # how long to look when nobody says; also the pause while watching what needs no time to be read


def run(options: Options) -> int:
    """Run CMD unchanged, watch it, and say on stderr what slows it down. Exits with CMD's own status."""
    language, advisor = options.lang or locale_language(), open_advisor()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    with _footer(advisor, options.live, " ".join(command), language) as draw:
        tick = _Tick(advisor, draw)
        diagnosis, status = advisor.watch(command, tick, LIVE_S if draw else KEEP_S)
    keep(advisor, diagnosis, "done")
    if options.out:
        write_file(options.out, advisor.report(diagnosis, "json", language))
    show(advisor, diagnosis, language, sys.stderr)
    return status


def diagnose(options: Options) -> int:
    """Diagnose files, the metrics of servers and exporters at URLs, or this machine for some seconds."""
    language, advisor = options.lang or locale_language(), open_advisor()
    probes = _asked_probes(options)
    found = _watched(advisor, options, language) if options.watch else _looked(advisor, options)
    if probes:
        found = advisor.probe(probes, lambda plan: print(f"advisor: {plan}", file=sys.stderr), found)
    for diagnosis in found:
        keep(advisor, diagnosis, "done")
        if not options.watch:
            _tell(advisor, diagnosis, options, language)
    if options.out and found:
        write_file(options.out, advisor.report(found[-1], "json", language))
    worst = max((SEVERITIES.index(f.rule.severity) for d in found for f in d.findings), default=-1)
    return int(options.fail_on is not None and worst >= SEVERITIES.index(options.fail_on))


def compare(options: Options) -> int:
    """Did the fix work? What became of each finding, what moved beyond noise, whether the remedies are verified."""
    from advisor.blocks.comparison import comparison_blocks

    language, advisor = options.lang or locale_language(), open_advisor()
    compared = advisor.compare(_one_run(advisor, options.before), _one_run(advisor, options.after))
    if options.json:
        print_json(advisor.comparison_document(compared))
    else:
        print_page(comparison_blocks(compared, advisor.knowledge, language), sys.stdout)
    return 0 if options.fail_on_regression is None else int(advisor.regressed(compared, options.fail_on_regression))


def _one_run(advisor: Advisor, path: Path) -> Diagnosis:
    """The one diagnosis that a file, folder or archive holds (raises InputError)."""
    found = _read(advisor, [path])
    if len(found) != 1:
        raise InputError(f"{path} holds {len(found)} runs; give one of them, as a file of its own")
    return found[0]


def doctor(options: Options) -> int:
    """Show what can be read here, what cannot and how to change that, and which rules it leaves open."""
    from advisor.report.doctor import print_doctor

    language, advisor = options.lang or locale_language(), open_advisor()
    if sys.stderr.isatty():
        print("advisor: asking every source; importing torch takes some seconds", file=sys.stderr)
    document = advisor.doctor(options.python)
    if options.json:
        print_json(document)
    else:
        print_doctor(document, advisor.knowledge, language, sys.stdout)
    return 0


def _looked(advisor: Advisor, options: Options) -> list[Diagnosis]:
    """One look at everything that was named; all addresses are looked at together."""
    from advisor.collect.http import is_url

    urls = [source for source in options.sources if is_url(source)]
    files = [Path(source) for source in options.sources if not is_url(source)]
    if options.select and not urls:
        raise InputError("--select is for Prometheus servers; give the address of one, as in http://HOST:9090")
    found = _read(advisor, files) if files else []
    if urls:
        look = lambda tick: advisor.diagnose_endpoint(urls[0], options.seconds, urls[1:], tick, options.select)  # noqa: E731
        found.append(_with_progress("looking at the metrics", look))
    elif not files:
        look = lambda tick: advisor.diagnose_machine(options.seconds or SECONDS, options.pid, tick)  # noqa: E731
        found.append(_with_progress("looking at this machine", look))
    return found


def _watched(advisor: Advisor, options: Options, language: Lang) -> list[Diagnosis]:
    """Look again and again, and tell each time; the last diagnosis when the person has seen enough.

    What cannot be reached at first is an error; later it may be restarting.
    """
    last: list[Diagnosis] = []
    with suppress(KeyboardInterrupt):
        while True:
            began = time.monotonic()
            try:
                last = _looked(advisor, options)
                for diagnosis in last:
                    _tell(advisor, diagnosis, options, language)
            except InputError as error:
                if not last:
                    raise
                print(f"advisor: {error}", file=sys.stderr)
            time.sleep(max(0.0, began + min(options.seconds or SECONDS, SECONDS) - time.monotonic()))
    return last


def _tell(advisor: Advisor, diagnosis: Diagnosis, options: Options, language: Lang) -> None:
    if options.json and options.watch:  # one line each, so that a program can follow
        print(json.dumps(advisor.diagnosis_document(diagnosis), ensure_ascii=False), flush=True)
    elif options.json:
        print_json(advisor.diagnosis_document(diagnosis))
    else:
        show(advisor, diagnosis, language, sys.stdout)


def _asked_probes(options: Options) -> list[Probe]:
    """The probes that were asked for (raises InputError, before anything is measured)."""
    if bool(options.command) != ("loader" in options.probe):
        raise InputError(
            "a command after two dashes and --probe loader belong together: "
            "advisor diagnose [PROFILE] --probe loader -- python train.py"
        )
    if not options.probe:
        return []
    from advisor.collect.probe import Budget, Wanted, probe

    budget = Budget(seconds=options.probe_seconds)
    wanted = Wanted(options.data, options.python, tuple(options.peer), options.command, budget)
    return [probe(name, wanted) for name in options.probe]


def _read(advisor: Advisor, files: Sequence[Path]) -> list[Diagnosis]:
    """Read files, with a bar of bytes on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        return advisor.diagnose_files(files)
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        return advisor.diagnose_files(files, lambda done, size: bar.update(task, completed=done, total=size))


def _with_progress(what: str, look: Callable[[Callable[[float], None]], Diagnosis]) -> Diagnosis:
    """Look with a progress bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=1.0)
        return look(lambda done: bar.update(task, completed=done))


class _Tick:
    """What is done with an interim diagnosis of a run: it is drawn each time, and stored every few seconds."""

    def __init__(self, advisor: Advisor, draw: Callable[[Diagnosis], None] | None) -> None:
        self._advisor, self._draw, self._kept = advisor, draw, 0.0

    def __call__(self, interim: Diagnosis) -> None:
        if self._draw:
            self._draw(interim)
        if time.monotonic() - self._kept >= KEEP_S:
            self._kept = time.monotonic()
            with suppress(AdvisorError):  # the terminal belongs to the program: a full disk is told at the end
                self._advisor.save(interim, "running")


@contextmanager
def _footer(advisor: Advisor, live: bool, title: str, language: Lang) -> Iterator[Callable[[Diagnosis], None] | None]:
    """Draws interim diagnoses at the foot of the terminal; None where that is not wanted or not possible."""
    if not live:  # the program does not wait for a library that draws
        yield None
        return
    from advisor.report.live import Footer, live_lines

    if not Footer.fits(sys.stderr):
        print("advisor: --live needs a terminal of at least 20 lines on stderr; going on without it", file=sys.stderr)
        yield None
        return
    footer = Footer(sys.stderr)
    try:
        yield lambda found: footer.show(lambda width: live_lines(found, advisor.knowledge, language, title, width))
    finally:
        footer.close()
