"""The commands. Thin: each calls the pipeline and prints what it returns.

stdout carries what was asked for (a diagnosis, an answer, JSON); progress, warnings and
errors go to stderr. An error is one sentence and exit status 2.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advisor import __version__
from advisor.errors import AdvisorError, InputError, KnowledgeError
from advisor.models import LANGS, SEVERITIES, Lang
from advisor.text import locale_language

if TYPE_CHECKING:
    from advisor.models import Diagnosis
    from advisor.pipeline import Advisor

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Ask why training is slow: the right cause, proven by your own machine's numbers.",
)

LangOption = Annotated[
    str, typer.Option("--lang", help="en, zh-Hans or zh-Hant; default: the question's, else the locale.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the JSON document instead of text.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Write the Diagnosis JSON to this file.")]
FailOption = Annotated[str, typer.Option("--fail-on", help="Exit 1 when a finding is at least this severe.")]


def main() -> None:
    """Run the command line; an error a person can act on becomes one sentence on stderr."""
    try:
        app()
    except KnowledgeError as error:
        _fail(str(error))
    except AdvisorError as error:
        _fail(f"advisor: {error}")
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(0)


def _fail(sentence: str) -> None:
    print(sentence, file=sys.stderr)
    sys.exit(2)


def _advisor() -> Advisor:
    from advisor.pipeline import Advisor

    return Advisor()


def _language(name: str) -> Lang:
    for lang in LANGS:
        if lang == name:
            return lang
    if name:
        raise InputError(f"{name!r} is not a language; choose from {', '.join(LANGS)}")
    return locale_language()


@app.command(context_settings={"allow_interspersed_args": False})
def run(
    command: Annotated[list[str], typer.Argument(help="The command to watch, unchanged.", metavar="-- CMD...")],
    out: OutOption = None,
    lang: LangOption = "",
) -> None:
    """Run CMD unchanged, watch it, and say on stderr what slows it down. Exits with CMD's own status."""
    language, advisor = _language(lang), _advisor()
    diagnosis, status = advisor.watch(command, lambda interim: _keep(advisor, interim, "running"))
    _keep(advisor, diagnosis, "done")
    if out:
        _write(out, advisor.report(diagnosis, "json", language))
    _show(advisor, diagnosis, language, sys.stderr)
    raise typer.Exit(status)


@app.command()
def diagnose(
    files: Annotated[list[Path] | None, typer.Argument(help="Profiles or diagnoses; none: this machine.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to sample this machine.", min=0.1, max=86400)] = 10.0,
    pid: Annotated[int | None, typer.Option(help="Watch this process and its children.", min=1)] = None,
    out: OutOption = None,
    lang: LangOption = "",
    as_json: JsonOption = False,
    fail_on: FailOption = "",
) -> None:
    """Diagnose files, or this machine for a few seconds."""
    language, advisor = _language(lang), _advisor()
    if fail_on and fail_on not in SEVERITIES:
        raise InputError(f"{fail_on!r} is not a severity; choose from {', '.join(SEVERITIES)}")
    found = [advisor.diagnose_file(f) for f in files] if files else [_sample(advisor, seconds, pid)]
    for diagnosis in found:
        _keep(advisor, diagnosis, "done")
        if as_json:
            print(json.dumps(advisor.diagnosis_document(diagnosis), ensure_ascii=False, indent=2))
        else:
            _show(advisor, diagnosis, language, sys.stdout)
    if out:
        _write(out, advisor.report(found[-1], "json", language))
    worst = max((SEVERITIES.index(f.rule.severity) for d in found for f in d.findings), default=-1)
    if fail_on and worst >= SEVERITIES.index(fail_on):
        raise typer.Exit(1)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question, in English or Chinese.")] = "",
    profile: Annotated[Path | None, typer.Option(help="A profile or diagnosis that the question is about.")] = None,
    batch: Annotated[Path | None, typer.Option(help="A YAML list of {id, text}: answers as JSON lines.")] = None,
    lang: LangOption = "",
    as_json: JsonOption = False,
) -> None:
    """Answer one question, about the attached profile, else the latest run."""
    advisor = _advisor()
    chosen = _language(lang) if lang else None
    attached = advisor.diagnose_file(profile) if profile else None
    if batch:
        for item, answer in advisor.ask_batch(batch, attached, lang=chosen):
            print(json.dumps({"id": item, **advisor.answer_document(answer)}, ensure_ascii=False), flush=True)
        return
    answer = advisor.ask_about(question, attached, lang=chosen) if attached else advisor.ask(question, lang=chosen)
    if as_json:
        print(json.dumps(advisor.answer_document(answer), ensure_ascii=False, indent=2))
    else:
        _print(answer.blocks, sys.stdout)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; the next free one if taken.", min=0, max=65535)] = 8321,
) -> None:
    """Serve the chat page and the REST API."""
    from advisor.serve import serve as serve_forever

    serve_forever(_advisor(), host, port, lambda url: print(f"advisor is at {url}  (Ctrl-C stops it)", flush=True))


@app.command()
def report(
    source: Annotated[Path, typer.Argument(help="A Diagnosis that --out saved.", metavar="DIAGNOSIS")],
    formats: Annotated[str, typer.Option("--format", help="md, html, json; several separated by commas.")] = "md",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files; without it one format goes to stdout.")
    ] = None,
    lang: LangOption = "",
) -> None:
    """Render a diagnosis as a report that can be attached to a ticket."""
    from advisor.pipeline import report_formats

    language, wanted = _language(lang), report_formats(formats)
    if out is None and len(wanted) > 1:
        out = source.parent
    advisor = _advisor()
    diagnosis = advisor.diagnose_file(source)
    for name in wanted:
        text = advisor.report(diagnosis, name, language)
        if out is None:
            print(text, end="")
        else:
            target = out / f"{source.stem}.report.{name}"
            _write(target, text)
            print(target)


@app.command()
def explain(
    rule: Annotated[str, typer.Argument(help="The id of a rule.")], lang: LangOption = "", as_json: JsonOption = False
) -> None:
    """Show the page of a rule."""
    blocks = _advisor().rule_page(rule, _language(lang))
    if as_json:
        print(json.dumps({"rule": rule, "blocks": list(blocks)}, ensure_ascii=False, indent=2))
    else:
        _print(blocks, sys.stdout)


@app.command()
def rules(lang: LangOption = "", as_json: JsonOption = False) -> None:
    """List the rules of the knowledge base."""
    language, knowledge = _language(lang), _advisor().knowledge
    rows = [
        {"id": r.id, "area": r.area, "topic": r.topic, "severity": r.severity, "title": r.title.get(language)}
        for r in sorted(knowledge.rules.values(), key=lambda r: (r.area, r.id))
    ]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    width = max((len(r["id"]) for r in rows), default=0)
    for row in rows:
        print(f"{row['area']:<14} {row['id']:<{width}}  {row['severity']:<8}  {row['title']}")


@app.command()
def check(
    folder: Annotated[
        Path | None, typer.Argument(help="A knowledge folder; default: the one that comes with advisor.")
    ] = None,
) -> None:
    """Prove a knowledge folder: every problem as file:line. Exits 1 when there is one."""
    from advisor.kb import gate

    if folder and not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the one that holds facts.yaml and rules/")
    knowledge, problems = gate.check(folder)
    for problem in problems:
        print(problem)
    cases = sum(len(r.cases) for r in knowledge.rules.values())
    print(f"{len(knowledge.rules)} rules, {cases} cases, {len(problems)} problems", file=sys.stderr)
    if problems:
        raise typer.Exit(1)


@app.command("new-rule")
def new_rule(
    rule: Annotated[str, typer.Argument(help="The id: a kebab-case noun phrase of the bad state.")],
    area: Annotated[str, typer.Option(help="The folder under rules/.")] = "unsorted",
    topic: Annotated[str, typer.Option(help="The topic it belongs to.")] = "gpu_low_utilization",
    folder: Annotated[Path | None, typer.Option(help="The knowledge folder.")] = None,
) -> None:
    """Write the scaffold of a rule that passes `advisor check`."""
    from advisor.kb import scaffold

    print(scaffold.new_rule(rule, area, topic, folder))


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False) -> None:
    """Options of every command."""
    if show:
        print(f"advisor {__version__}")
        raise typer.Exit


def _sample(advisor: Advisor, seconds: float, pid: int | None) -> Diagnosis:
    """Sample with a progress bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("looking at this machine"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        return advisor.diagnose_machine(seconds, pid, lambda done: bar.update(task, completed=done))


def _keep(advisor: Advisor, diagnosis: Diagnosis, state: Any) -> None:
    """Store a diagnosis; a store that cannot be written costs a warning, not the run."""
    try:
        advisor.save(diagnosis, state)
    except AdvisorError as error:
        print(f"advisor: not stored: {error}", file=sys.stderr)


def _show(advisor: Advisor, diagnosis: Diagnosis, lang: Lang, stream: Any) -> None:
    from advisor.blocks import diagnosis_blocks

    _print(diagnosis_blocks(diagnosis, advisor.knowledge, lang), stream)


def _print(blocks: Any, stream: Any) -> None:
    from advisor.report.terminal import print_blocks

    print_blocks(blocks, stream)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another path") from None
