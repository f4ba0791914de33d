"""The commands. Thin: each calls the pipeline and prints what it returns.

stdout carries what was asked for (a diagnosis, an answer, JSON); progress, warnings and
errors go to stderr. An error is one sentence and exit status 2.

argparse, because a question must not wait for a command-line library: typer takes as long
to import as everything else that an answer needs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, NoReturn, TypeVar

from advisor import __version__
from advisor.errors import AdvisorError, InputError, KnowledgeError
from advisor.models import LANGS, SEVERITIES, Lang
from advisor.text import locale_language

if TYPE_CHECKING:
    from advisor.blocks import Block
    from advisor.models import Diagnosis
    from advisor.pipeline import Advisor

Options = argparse.Namespace
Name = TypeVar("Name", bound=str)
PORT = 8321


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit with its status; an error a person can act on is one sentence on stderr."""
    try:
        options = _parser().parse_args(argv)
        sys.exit(options.command_function(options))
    except KnowledgeError as error:
        _fail(str(error))
    except AdvisorError as error:
        _fail(f"advisor: {error}")
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(0)


def _fail(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)
    sys.exit(2)


# --- the command line -----------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, like all others."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    about = "Ask why training is slow: the right cause, proven by your own machine's numbers."
    parser = _Parser(prog="advisor", description=about)
    parser.add_argument("--version", action="version", version=f"advisor {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, function: Callable[[Options], int]) -> argparse.ArgumentParser:
        doc = " ".join((function.__doc__ or "").split())
        added = commands.add_parser(name, help=doc.split(". ")[0].rstrip("."), description=doc)
        added.set_defaults(command_function=function)
        added.add_argument(
            "--lang", type=_language, metavar="|".join(LANGS), help="default: the question's, or the locale's"
        )
        return added

    _run_options(command("run", run))
    _diagnose_options(command("diagnose", diagnose))
    _ask_options(command("ask", ask))
    _serve_options(command("serve", serve))
    _report_options(command("report", report))
    _knowledge_options(command)
    return parser


def _run_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--out", type=Path, metavar="FILE", help="write the Diagnosis to this file")
    p.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD...", help="the command, unchanged")


def _diagnose_options(p: argparse.ArgumentParser) -> None:
    about = "profiles, scripts, saved metrics pages, or addresses of metrics; none: this machine"
    p.add_argument("sources", nargs="*", metavar="FILE|URL", help=about)
    p.add_argument("--seconds", type=_seconds, default=10.0, help="how long to look (default 10)")
    p.add_argument("--watch", action="store_true", help="keep looking, until Ctrl-C")
    p.add_argument("--pid", type=int, help="look at this process and its children")
    p.add_argument("--out", type=Path, metavar="FILE", help="write the Diagnosis to this file")
    p.add_argument("--json", action="store_true", help="print the Diagnosis as JSON")
    p.add_argument(
        "--fail-on", type=_severity, metavar="|".join(SEVERITIES), help="exit 1 when a finding is at least this"
    )


def _ask_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("question", nargs="?", default="", help="in English or Chinese")
    p.add_argument("--profile", type=Path, metavar="FILE", help="the profile or diagnosis that it is about")
    p.add_argument("--batch", type=Path, metavar="FILE", help="a YAML list of {id, text}: answers as JSON lines")
    p.add_argument("--json", action="store_true", help="print the Answer as JSON")


def _serve_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine only)")
    p.add_argument("--port", type=int, default=PORT, help=f"the next free one is used if taken (default {PORT})")


def _report_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("source", type=Path, metavar="DIAGNOSIS", help="a Diagnosis that --out saved")
    p.add_argument("--format", default="md", metavar="md,html,json", help="one or several (default md)")
    p.add_argument("--out", type=Path, metavar="FOLDER", help="where the files go; one format without it: stdout")


def _knowledge_options(command: Callable[[str, Callable[[Options], int]], argparse.ArgumentParser]) -> None:
    p = command("explain", explain)
    p.add_argument("rule", help="the id of a rule")
    p.add_argument("--json", action="store_true", help="print the page's blocks as JSON")
    p = command("rules", rules)
    p.add_argument("--json", action="store_true", help="print JSON")
    p.add_argument("--pages", type=Path, metavar="DIR", help="write them as web pages, in every language, into DIR")
    check_folder = "a knowledge folder; default: the one that comes with advisor"
    command("check", check).add_argument("folder", nargs="?", type=Path, help=check_folder)
    p = command("new-rule", new_rule)
    p.add_argument("rule", help="the id: a kebab-case noun phrase of the bad state")
    p.add_argument("--area", default="unsorted", help="the folder under rules/")
    p.add_argument("--topic", default="gpu_low_utilization", help="the topic it belongs to")
    p.add_argument("--folder", type=Path, help="the knowledge folder")


def _language(name: str) -> Lang:
    return _one_of(name, LANGS, "language")


def _severity(name: str) -> str:
    return _one_of(name, SEVERITIES, "severity")


def _one_of(name: str, known: Sequence[Name], what: str) -> Name:
    for item in known:
        if item == name:
            return item
    raise argparse.ArgumentTypeError(f"{name!r} is not a {what}, choose from {', '.join(known)}")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time from 0.1 to 86400 seconds")
    return value


# --- the commands ---------------------------------------------------------------------


def run(options: Options) -> int:
    """Run CMD unchanged, watch it, and say on stderr what slows it down. Exits with CMD's own status."""
    language, advisor = options.lang or locale_language(), _advisor()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    diagnosis, status = advisor.watch(command, lambda interim: _keep_quietly(advisor, interim))
    _keep(advisor, diagnosis, "done")
    if options.out:
        _write(options.out, advisor.report(diagnosis, "json", language))
    _show(advisor, diagnosis, language, sys.stderr)
    return status


def diagnose(options: Options) -> int:
    """Diagnose files, the metrics of servers and exporters at URLs, or this machine for some seconds."""
    language, advisor = options.lang or locale_language(), _advisor()
    found = _watched(advisor, options, language) if options.watch else _looked(advisor, options)
    for diagnosis in found:
        _keep(advisor, diagnosis, "done")
        if not options.watch:
            _tell(advisor, diagnosis, options, language)
    if options.out and found:
        _write(options.out, advisor.report(found[-1], "json", language))
    worst = max((SEVERITIES.index(f.rule.severity) for d in found for f in d.findings), default=-1)
    return int(options.fail_on is not None and worst >= SEVERITIES.index(options.fail_on))


def ask(options: Options) -> int:
    """Answer a question: about the attached profile, else the latest run, else from the knowledge base."""
    advisor = _advisor()
    attached = advisor.diagnose_file(options.profile) if options.profile else None
    if options.batch:
        for item, answer in advisor.ask_batch(options.batch, attached, lang=options.lang):
            print(json.dumps({"id": item, **advisor.answer_document(answer)}, ensure_ascii=False), flush=True)
        return 0
    if attached:
        answer = advisor.ask_about(options.question, attached, lang=options.lang)
    else:
        answer = advisor.ask(options.question, lang=options.lang)
    if options.json:
        _print_json(advisor.answer_document(answer))
    else:
        _print(answer.blocks, sys.stdout)
    return 0


def serve(options: Options) -> int:
    """Serve the chat page and the REST API on this machine."""
    from advisor.serve import LOOPBACK
    from advisor.serve import serve as serve_forever

    if options.host not in LOOPBACK:
        print(f"advisor: everyone who reaches {options.host} can read the runs and ask", file=sys.stderr)
    ready: Callable[[str], None] = lambda url: print(f"advisor is at {url}  (Ctrl-C stops it)", flush=True)  # noqa: E731
    serve_forever(_advisor(), options.host, options.port, ready)
    return 0


def report(options: Options) -> int:
    """Render a diagnosis as a report that can be attached to a ticket."""
    from advisor.pipeline import report_formats

    language, wanted = options.lang or locale_language(), report_formats(options.format)
    folder = options.out or (options.source.parent if len(wanted) > 1 else None)
    advisor = _advisor()
    diagnosis = advisor.diagnose_file(options.source)
    for name in wanted:
        text = advisor.report(diagnosis, name, language)
        if folder is None:
            print(text, end="")
        else:
            target = folder / f"{options.source.stem}.report.{name}"
            _write(target, text)
            print(target)
    return 0


def explain(options: Options) -> int:
    """Show the page of a rule: what it tests, where its limits come from, what to do."""
    blocks = _advisor().rule_page(options.rule, options.lang or locale_language())
    if options.json:
        _print_json({"rule": options.rule, "blocks": list(blocks)})
    else:
        _print(blocks, sys.stdout)
    return 0


def rules(options: Options) -> int:
    """List the rules of the knowledge base, or write them as web pages."""
    advisor = _advisor()
    if options.pages:
        print(advisor.write_pages(options.pages))
        return 0
    language, knowledge = options.lang or locale_language(), advisor.knowledge
    rows = [
        {"id": r.id, "area": r.area, "topic": r.topic, "severity": r.severity, "title": r.title.get(language)}
        for r in sorted(knowledge.rules.values(), key=lambda r: (r.area, r.id))
    ]
    if options.json:
        _print_json(rows)
        return 0
    width = max((len(r["id"]) for r in rows), default=0)
    for row in rows:
        print(f"{row['area']:<14} {row['id']:<{width}}  {row['severity']:<8}  {row['title']}")
    return 0


def check(options: Options) -> int:
    """Prove a knowledge folder: every problem as file:line. Exits 1 when there is one."""
    from advisor.kb import gate

    if options.folder and not options.folder.is_dir():
        raise InputError(f"{options.folder} is not a folder; give the one that holds facts.yaml and rules/")
    knowledge, cases, problems = gate.check(options.folder)
    for problem in problems:
        print(problem)
    print(f"{len(knowledge.rules)} rules, {cases} cases, {len(problems)} problems", file=sys.stderr)
    return int(bool(problems))


def new_rule(options: Options) -> int:
    """Write the scaffold of a rule that passes `advisor check`."""
    from advisor.kb import scaffold

    print(scaffold.new_rule(options.rule, options.area, options.topic, options.folder))
    return 0


# --- printing -------------------------------------------------------------------------


def _advisor() -> Advisor:
    from advisor.pipeline import Advisor

    return Advisor()


def _looked(advisor: Advisor, options: Options) -> list[Diagnosis]:
    """One look at everything that was named; all addresses are looked at together."""
    from advisor.collect.scrape import is_url

    urls = [source for source in options.sources if is_url(source)]
    files = [Path(source) for source in options.sources if not is_url(source)]
    found = advisor.diagnose_files(files) if files else []
    if urls:
        look = lambda tick: advisor.diagnose_endpoint(urls[0], options.seconds, urls[1:], tick)  # noqa: E731
        found.append(_with_progress("looking at the metrics", look))
    elif not files:
        look = lambda tick: advisor.diagnose_machine(options.seconds, options.pid, tick)  # noqa: E731
        found.append(_with_progress("looking at this machine", look))
    return found


def _watched(advisor: Advisor, options: Options, language: Lang) -> list[Diagnosis]:
    """Look again and again, and tell each time; the last diagnosis when the person has seen enough.

    What cannot be reached at first is an error; later it may be restarting.
    """
    import time

    last: list[Diagnosis] = []
    with suppress(KeyboardInterrupt):
        while True:
            try:
                last = _looked(advisor, options)
                for diagnosis in last:
                    _tell(advisor, diagnosis, options, language)
            except InputError as error:
                if not last:
                    raise
                print(f"advisor: {error}", file=sys.stderr)
                time.sleep(options.seconds)
    return last


def _tell(advisor: Advisor, diagnosis: Diagnosis, options: Options, language: Lang) -> None:
    if options.json and options.watch:  # one line each, so that a program can follow
        print(json.dumps(advisor.diagnosis_document(diagnosis), ensure_ascii=False), flush=True)
    elif options.json:
        _print_json(advisor.diagnosis_document(diagnosis))
    else:
        _show(advisor, diagnosis, language, sys.stdout)


def _with_progress(what: str, look: Callable[[Callable[[float], None]], Diagnosis]) -> Diagnosis:
    """Look with a progress bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=1.0)
        return look(lambda done: bar.update(task, completed=done))


def _keep(advisor: Advisor, diagnosis: Diagnosis, state: Literal["running", "done"]) -> None:
    """Store a diagnosis; a store that cannot be written costs a warning, not the run."""
    try:
        advisor.save(diagnosis, state)
    except AdvisorError as error:
        print(f"advisor: not stored: {error}", file=sys.stderr)


def _keep_quietly(advisor: Advisor, diagnosis: Diagnosis) -> None:
    """Store what is known of a run that goes on; its terminal belongs to the program."""
    with suppress(AdvisorError):
        advisor.save(diagnosis, "running")


def _show(advisor: Advisor, diagnosis: Diagnosis, lang: Lang, stream: IO[str]) -> None:
    from advisor.blocks import diagnosis_blocks

    _print(diagnosis_blocks(diagnosis, advisor.knowledge, lang), stream)


def _print(blocks: Sequence[Block], stream: IO[str]) -> None:
    from advisor.report.terminal import print_blocks

    print_blocks(blocks, stream)


def _print_json(document: object) -> None:
    print(json.dumps(document, ensure_ascii=False, indent=2))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another path") from None
