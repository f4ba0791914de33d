"""What the Trainer of Hugging Face prints: dictionaries of metrics, the block before training, tables after it.

Its speeds are of the whole job: ``train_samples_per_second`` is all samples over ``train_runtime``
(transformers/trainer_utils.py, speed_metrics), evaluations and checkpoints included.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from advisor.readers.log.log import Log
from advisor.readers.log.training.part import NUMBER, Part, Said, number
from advisor.readers.rows import Row, row, share

_METRIC = re.compile(rf"""["']?\b((?:train|eval|test)_[a-z0-9_]{{1,60}})["']?\s{{0,3}}:\s{{0,3}}["']?({NUMBER})\b""")
_DICT = re.compile(r"\{[^{}\n]{0,3000}\}")
_TABLE = re.compile(
    rf"\b(train_runtime|train_samples_per_second|train_steps_per_second|train_tokens_per_second|eval_runtime)"
    rf"\s{{0,40}}=\s{{1,40}}(?:(\d{{1,3}}) days?, )?(\d{{1,4}}:\d\d:\d\d(?:\.\d{{1,6}})?|{NUMBER})"
)
_BLOCK = re.compile(r"\b(Total optimization steps|Num examples|Num Epochs)\s{0,3}=\s{0,3}([\d,]{1,20})")
_LOSS = re.compile(r"""\{["']loss["']: ["']?[-\d.einfa]""")
_SAVING = re.compile(r"Saving model checkpoint to [^\n]{0,200}?checkpoint-(\d{1,12})")
_FIRST = re.compile(r"\*{5} Running training \*{5}")


@dataclass(frozen=True, slots=True)
class _End:
    """The metrics that stand together at the end of a training."""

    at: int
    metrics: dict[str, float]


def read(log: Log, batch: Callable[[], float | None]) -> Part | None:
    """What the Trainer's lines say.

    Args:
        log: the text.
        batch: gives the samples of one step of the whole job, where the log told them.

    Returns:
        None when there are none of its lines.
    """
    text = log.text
    started, losses = _FIRST.search(text) is not None, _LOSS.search(text) is not None
    if not (started or losses or "train_runtime" in text or "eval_runtime" in text):
        return None
    block = {m[1]: (float(m[2].replace(",", "")), m.start()) for m in _BLOCK.finditer(text) if m[2].strip(",")}
    ends = list(_ends(text))
    part = Part("Hugging Face Trainer", coarse=True, trains=bool(ends) or started or losses)
    part.said = [Said(0, "run.framework", "pytorch", "{string}")] if part.trains else []
    if ends:
        end = ends[-1]
        part.at, part.seconds = end.at, end.metrics.get("train_runtime")
        total = block.get("Total optimization steps", (None, 0))[0]
        part.rows += _speed(end, total, batch(), log.where(end.at))
    part.rows += _evaluations(text, part.seconds, log)
    saved = sorted({m[1]: m.start() for m in _SAVING.finditer(text)}.values())
    if saved:
        part.rows.append(row("ml.checkpoint.count", float(len(saved)), "{checkpoint}", log.where(saved[0])))
    part.notes = _loss_notes(text)
    return part


def _ends(text: str) -> Iterator[_End]:
    """Every rank prints the end of the training; those that say the same are one, of which the first stands."""
    seen: set[int] = set()
    for match in _DICT.finditer(text):
        if "train_runtime" in match[0]:
            metrics = {m[1]: number(m[2]) for m in _METRIC.finditer(match[0])}
            runtime = metrics.get("train_runtime", 0.0)
            if 0 < runtime < math.inf and round(runtime) not in seen:
                seen.add(round(runtime))
                yield _End(match.start(), metrics)
    if not seen:
        told = {m[1]: (_seconds(m[2], m[3]), m.start()) for m in _TABLE.finditer(text)}
        if "train_runtime" in told:
            yield _End(told["train_runtime"][1], {name: value for name, (value, _) in told.items()})


def _seconds(days: str | None, text: str) -> float:
    if ":" not in text:
        return number(text)
    hours, minutes, seconds = text.split(":")
    return int(days or 0) * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _speed(end: _End, total: float | None, batch: float | None, where: str) -> Iterator[Row]:
    runtime = end.metrics.get("train_runtime", 0.0)
    samples = end.metrics.get("train_samples_per_second")
    rate = end.metrics.get("train_steps_per_second", 0.0)
    step = None
    if runtime > 0 and total:
        step = runtime / total
    elif samples and batch:
        step = batch / samples
    elif rate >= 0.1:  # printed with three decimals: below that the last digit is more than half a per cent
        step = 1.0 / rate
    yield row("ml.step.time", step, "s", where)
    yield row("ml.step.count", total if runtime > 0 else None, "{step}", where)
    yield row("ml.throughput.samples.job", samples, "{sample}/s", where)
    yield row("ml.throughput.tokens.job", end.metrics.get("train_tokens_per_second"), "{token}/s", where)


def _evaluations(text: str, runtime: float | None, log: Log) -> Iterator[Row]:
    """Time in evaluation loops; every rank may print them, so that equal times in a row count once."""
    told: list[tuple[float, int]] = []
    if "eval_runtime" in text:
        for match in re.finditer(rf"""["']eval_runtime["']: ["']?({NUMBER})""", text):
            if not told or told[-1][0] != number(match[1]):
                told.append((number(match[1]), match.start()))
    if not told:
        return
    where = log.where(told[0][1])
    spent = sum(seconds for seconds, _ in told)
    yield row("ml.evaluation.count", float(len(told)), "{evaluation}", where)
    yield row("ml.evaluation.time", spent / len(told), "s", where)
    if runtime and spent <= runtime:
        yield share("ml.evaluation.fraction", spent / runtime, where)


def _loss_notes(text: str) -> list[str]:
    bad = len(re.findall(r"""["']loss["']: ["']?(?:nan|inf)""", text))
    return [f"the loss is not a number in {bad} of its lines"] if bad else []
