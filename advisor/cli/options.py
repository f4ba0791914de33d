"""The command line: commands, their options, and the values that options take.

argparse, because a question must not wait for a command-line library: typer takes as long
to import as everything else that an answer needs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from advisor import __version__
from advisor.cli import look, tell
from advisor.cli.shared import Options
from advisor.errors import InputError
from advisor.models import LANGS, SEVERITIES, Lang

Name = TypeVar("Name", bound=str)
PORT = 8321
PROBES = ("disk", "memory", "matmul", "loader", "network")


KNOWN = """Known by what they hold, alone or mixed, plain or packed (gz, zst, xz, bz2, zip, tar): profiles and diagnoses
of advisor; Python scripts; traces of the PyTorch profiler, Nsight Systems (SQLite), rocprofiler, XPlane, nsys-jax;
nvidia-smi and rocm-smi in every form; metrics pages of vLLM, SGLang, TGI, Triton, DCGM, nvidia_gpu_exporter and
node_exporter, saved answers of Prometheus; logs of Megatron, DeepSpeed, Hugging Face, Lightning and usual training
loops, of vLLM, SGLang, TGI, TensorRT-LLM and llama.cpp, of NCCL; nccl-tests and load generators; trainer_state.json,
TensorBoard events, SageMaker profiler folders; out-of-memory messages, tracebacks, py-spy, CUDA memory snapshots,
collect_env; dmesg, top, free, vmstat, iostat, sar, df and the like; sosreports and copies of /proc. An address is that
of a metrics page or of a Prometheus server."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, like all others."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def parse(argv: list[str]) -> Options:
    """The options; what follows two dashes after `diagnose` is the command of its loader probe."""
    cut = argv.index("--") if argv[:1] == ["diagnose"] and "--" in argv else len(argv)
    options = _parser().parse_args(argv[:cut])
    if argv[:1] == ["diagnose"]:
        options.command = tuple(argv[cut + 1 :])
    return options


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

    _run_options(command("run", look.run))
    _diagnose_options(command("diagnose", look.diagnose))
    _compare_options(command("compare", look.compare))
    _ask_options(command("ask", tell.ask))
    _serve_options(command("serve", tell.serve))
    _report_options(command("report", tell.report))
    _knowledge_options(command)
    _doctor_options(command("doctor", look.doctor))
    return parser


def _run_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--out", type=Path, metavar="FILE", help="write the Diagnosis to this file")
    p.add_argument("--live", action="store_true", help="show step, machine and top finding at the foot of the terminal")
    p.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD...", help="the command, unchanged")


def _diagnose_options(p: argparse.ArgumentParser) -> None:
    about = "files, folders, archives (- is the standard input), or addresses; none: this machine"
    p.add_argument("sources", nargs="*", metavar="FILE|URL", help=about)
    p.epilog = KNOWN
    p.add_argument(
        "--seconds", type=_seconds, help="how long to look (default 10), or back into a Prometheus server (300)"
    )
    p.add_argument(
        "--select",
        action="append",
        default=[],
        metavar="{LABELS}",
        help="series of a Prometheus server; repeatable: any",
    )
    p.add_argument("--watch", action="store_true", help="keep looking, until Ctrl-C")
    p.add_argument("--pid", type=int, help="look at this process and its children")
    p.add_argument("--out", type=Path, metavar="FILE", help="write the Diagnosis to this file")
    p.add_argument("--json", action="store_true", help="print the Diagnosis as JSON")
    p.add_argument(
        "--fail-on", type=_severity, metavar="|".join(SEVERITIES), help="exit 1 when a finding is at least this"
    )
    _probe_options(p)


def _compare_options(p: argparse.ArgumentParser) -> None:
    about = "a Diagnosis that --out saved, or any artefact that `advisor diagnose` reads as one run"
    p.add_argument("before", type=Path, metavar="BEFORE", help=about)
    p.add_argument("after", type=Path, metavar="AFTER", help="the same, after the change")
    p.add_argument(
        "--fail-on-regression",
        type=_percentage,
        metavar="PERCENT",
        help="exit 1 when step time, request time or throughput is worse by more than this (5%%) and beyond noise, "
        "which begins at 3%%, or at 10%% where the runs hold one number each",
    )
    p.add_argument("--json", action="store_true", help="print the comparison as JSON")


def _probe_options(p: argparse.ArgumentParser) -> None:
    g = p.add_argument_group("probes: short loads that show what this machine can reach, only on request")
    g.add_argument("--probe", type=_probes, default=(), metavar="NAMES", help=f"{','.join(PROBES)}; loader: -- CMD...")
    g.add_argument("--data", type=Path, metavar="PATH", help="disk: what training reads (default: a temporary file)")
    g.add_argument("--python", metavar="PATH", help="memory, matmul: the Python that has torch (default: on PATH)")
    g.add_argument("--peer", action="append", default=[], metavar="HOST:PORT", help="network: another node; repeatable")
    g.add_argument("--probe-seconds", type=_seconds, default=10.0, help="how long each may take (default 10)")


def _ask_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("question", nargs="?", default="", help="in English or Chinese; none, in a terminal: a conversation")
    p.add_argument("--profile", type=Path, metavar="FILE", help="the profile or diagnosis that it is about")
    p.add_argument(
        "--batch",
        type=Path,
        metavar="FILE",
        help="a YAML list of {id, text}, each with a history of earlier messages or none: answers as JSON lines",
    )
    p.add_argument("--json", action="store_true", help="print the Answer as JSON")


def _serve_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine only)")
    p.add_argument("--port", type=int, default=PORT, help=f"the next free one is used if taken (default {PORT})")


def _report_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("source", type=Path, metavar="DIAGNOSIS", help="a Diagnosis that --out saved")
    p.add_argument("--format", default="md", metavar="md,html,json", help="one or several (default md)")
    p.add_argument("--out", type=Path, metavar="FOLDER", help="where the files go; one format without it: stdout")


def _knowledge_options(command: Callable[[str, Callable[[Options], int]], argparse.ArgumentParser]) -> None:
    p = command("explain", tell.explain)
    p.add_argument("name", metavar="RULE|FACT", help="the id of a rule, or the name of a fact")
    p.add_argument("--profile", type=Path, metavar="FILE", help="a profile or diagnosis: its numbers for the fact")
    p.add_argument("--json", action="store_true", help="print the page's blocks as JSON")
    p = command("rules", tell.rules)
    p.add_argument("--json", action="store_true", help="print JSON")
    p.add_argument("--pages", type=Path, metavar="DIR", help="write them as web pages, in every language, into DIR")
    check_folder = "a knowledge folder; default: the one that comes with advisor"
    command("check", tell.check).add_argument("folder", nargs="?", type=Path, help=check_folder)
    p = command("new-rule", tell.new_rule)
    p.add_argument("rule", help="the id: a kebab-case noun phrase of the bad state")
    p.add_argument("--area", default="unsorted", help="the folder under rules/")
    p.add_argument("--topic", default="gpu_low_utilization", help="the topic it belongs to")
    p.add_argument("--folder", type=Path, help="the knowledge folder")


def _doctor_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--python", metavar="PATH", help="the Python that your programs run with (default: on PATH)")
    p.add_argument("--json", action="store_true", help="print JSON")


def _language(name: str) -> Lang:
    return _one_of(name, LANGS, "language")


def _severity(name: str) -> str:
    return _one_of(name, SEVERITIES, "severity")


def _one_of(name: str, known: Sequence[Name], what: str) -> Name:
    for item in known:
        if item == name:
            return item
    raise argparse.ArgumentTypeError(f"{name!r} is not a {what}, choose from {', '.join(known)}")


def _probes(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_one_of(name.strip(), PROBES, "probe") for name in text.split(",")))


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time from 0.1 to 86400 seconds")
    return value


def _percentage(text: str) -> float:
    number = text.strip().removesuffix("%")
    try:
        value = float(number) if number != text.strip() else -1.0
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage, write for example 5%")
    return value / 100
