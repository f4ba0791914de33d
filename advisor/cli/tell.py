"""The commands that tell what is known: answers, the page, reports, the knowledge base."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from advisor.cli.shared import Options, open_advisor, print_json, print_page, write_file
from advisor.errors import InputError
from advisor.models import Lang
from advisor.text import locale_language

if TYPE_CHECKING:
    from advisor.models import Answer, Diagnosis
    from advisor.pipeline import Advisor


def ask(options: Options) -> int:
    """Answer a question about the attached profile, the latest run, or from the knowledge base; none: a conversation.

    A conversation is led in a terminal, one message per line, until it ends with Ctrl-D.
    """
    advisor = open_advisor()
    attached = advisor.diagnose_file(options.profile) if options.profile else None
    if options.batch:
        for item, answer in advisor.ask_batch(options.batch, attached, lang=options.lang):
            print(json.dumps({"id": item, **advisor.answer_document(answer)}, ensure_ascii=False), flush=True)
        return 0
    if not options.question and sys.stdin.isatty():
        from advisor.cli.chat import chat

        ask_next: Callable[[str, Sequence[str]], Answer] = lambda message, history: _answer(  # noqa: E731
            advisor, attached, message, options.lang, history
        )
        chat(ask_next, advisor.answer_document if options.json else None)
        return 0
    answer = _answer(advisor, attached, options.question, options.lang, ())
    if options.json:
        print_json(advisor.answer_document(answer))
    else:
        print_page(answer.blocks, sys.stdout)
    return 0


def _answer(
    advisor: Advisor, attached: Diagnosis | None, question: str, lang: Lang | None, history: Sequence[str]
) -> Answer:
    if attached:
        return advisor.ask_about(question, attached, lang=lang, history=history)
    return advisor.ask(question, lang=lang, history=history)


def serve(options: Options) -> int:
    """Serve the chat page and the REST API on this machine."""
    from advisor.serve import LOOPBACK
    from advisor.serve import serve as serve_forever

    if options.host not in LOOPBACK:
        print(f"advisor: everyone who reaches {options.host} can read the runs and ask", file=sys.stderr)
    ready: Callable[[str], None] = lambda url: print(f"advisor is at {url}  (Ctrl-C stops it)", flush=True)  # noqa: E731
    serve_forever(open_advisor(), options.host, options.port, ready)
    return 0


def report(options: Options) -> int:
    """Render a diagnosis as a report that can be attached to a ticket."""
    from advisor.pipeline import report_formats

    language, wanted = options.lang or locale_language(), report_formats(options.format)
    folder = options.out or (options.source.parent if len(wanted) > 1 else None)
    advisor = open_advisor()
    diagnosis = advisor.diagnose_file(options.source)
    for name in wanted:
        text = advisor.report(diagnosis, name, language)
        if folder is None:
            print(text, end="")
        else:
            target = folder / f"{options.source.stem}.report.{name}"
            write_file(target, text)
            print(target)
    return 0


def explain(options: Options) -> int:
    """Show the page of a rule, or of a fact: what it tests or how it is worked out, where that comes from."""
    advisor, lang, name = open_advisor(), options.lang or locale_language(), options.name
    if "." in name:  # the names of facts have dots, the ids of rules have none
        diagnosis = advisor.diagnose_file(options.profile) if options.profile else None
        kind, blocks = "fact", advisor.fact_page(name, lang, diagnosis)
    elif options.profile:
        raise InputError("--profile goes with the name of a fact; the page of a rule is the same for every run")
    else:
        kind, blocks = "rule", advisor.rule_page(name, lang)
    if options.json:
        print_json({kind: name, "blocks": list(blocks)})
    else:
        print_page(blocks, sys.stdout)
    return 0


def rules(options: Options) -> int:
    """List the rules of the knowledge base, or write them as web pages."""
    advisor = open_advisor()
    if options.pages:
        print(advisor.write_pages(options.pages))
        return 0
    language, knowledge = options.lang or locale_language(), advisor.knowledge
    rows = [
        {"id": r.id, "area": r.area, "topic": r.topic, "severity": r.severity, "title": r.title.get(language)}
        for r in sorted(knowledge.rules.values(), key=lambda r: (r.area, r.id))
    ]
    if options.json:
        print_json(rows)
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
