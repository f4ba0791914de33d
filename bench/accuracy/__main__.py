"""How often advisor is right: on planted causes run for real beside its peers, on recordings, on healthy profiles.

    python bench/accuracy [--rounds N] [--only PART or SCENARIO] [--short] [--write README.md]

Nothing else may run beside it. Three rounds take about two hours, most of it the peers; `--short` a minute or two. The
exit status is 1 when a goal was missed. `--write` puts the report between the lines `<!-- accuracy -->` and
`<!-- /accuracy -->` of a file.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.accuracy.parts import PARTS, Options, Section
from bench.accuracy.scenarios import SCENARIOS

BEGIN, END = "<!-- accuracy -->", "<!-- /accuracy -->"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/accuracy", description="Measure how often advisor is right.")
    parser.add_argument("--rounds", type=int, default=3, help="how often each live scenario is run")
    parser.add_argument("--only", default="", choices=[*PARTS, *(s.name for s in SCENARIOS)], metavar="NAME")
    parser.add_argument("--short", action="store_true", help="a few live scenarios once, without the peers")
    parser.add_argument("--write", type=Path, metavar="FILE", help="publish the report in this file")
    options = parser.parse_args(words)
    if options.write and (options.only or options.short):
        parser.error("--write publishes the whole bench; leave out --only and --short")
    return options


def chosen(only: str) -> list[str]:
    """The parts to run: the one named, the one that has the scenario named, or all."""
    return [*PARTS] if not only else [only] if only in PARTS else ["live"]


def report(sections: Sequence[Section], command: str) -> str:
    """All sections as Markdown, with the date, the command and the machine."""
    day = datetime.now(UTC).date().isoformat()
    machine = f"{os.cpu_count()} CPUs, Python {platform.python_version()}, torch {version('torch')}"
    said = [f"Measured on {day} with `{command}` on {machine}."]
    for section in sections:
        said += ["", f"### {section.title}", "", *section.lines]
    return "\n".join(said) + "\n"


def written(text: str, body: str) -> str:
    """A file's text with `body` between the marks.

    Raises:
        ValueError: when it does not have both marks, in this order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the lines {BEGIN} and {END} are missing")
    return f"{before}{BEGIN}\n{body}{END}{after}"


def main(words: Sequence[str] | None = None) -> int:
    asked = arguments(words)
    if asked.write:
        written(asked.write.read_text(encoding="utf-8"), "")  # said before two hours of work, not after
    options = Options(asked.rounds, asked.only, asked.short)
    sections = [PARTS[name](options) for name in chosen(asked.only)]
    body = report(sections, " ".join(["python bench/accuracy", *(sys.argv[1:] if words is None else words)]))
    print(body, end="")
    if asked.write:
        asked.write.write_text(written(asked.write.read_text(encoding="utf-8"), body), encoding="utf-8")
    missed = [f"{s.title}: {line}" for s in sections for line in s.missed]
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
