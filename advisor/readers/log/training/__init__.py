"""Training logs: step lines, timers, progress bars and settings of the usual trainers -> what they say of one run.

Several of them stand in one log: the Trainer's bar and metrics, DeepSpeed's timers, the launcher's noise. Each family
reads what it knows; here the families are put together, the best timed first, so that no fact is told twice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

from advisor.models import Reading, Source
from advisor.readers.log.log import Log
from advisor.readers.log.training import bars, deepspeed, huggingface, lightning, lines, megatron
from advisor.readers.log.training.part import Part, Said, latest
from advisor.readers.log.training.settings import resolve, settings
from advisor.readers.rows import Row, facts, row
from advisor.readers.told import Told

KIND = "log"


def find(log: Log) -> list[Told]:
    """What a text says about a training run; nothing when it holds none."""
    stated = functools.cache(lambda: settings(log))  # takes longest, and most texts are no training log
    parts = _parts(log, lambda: _number(latest(stated(), len(log.text)).get("ml.batch.global")))
    if not parts:
        return []
    timed = sorted((p for p in parts if any(r[0] == "ml.step.time" for r in p.rows)), key=lambda p: p.coarse)
    others = [p for p in parts if p not in timed]
    main = (timed or others)[0]
    rows = [r for part in (*timed, *others) for r in part.rows]
    if any(p.trains for p in parts):
        known = resolve([*stated(), *(one for p in parts for one in p.said)], main.at)
        rows.append(row("run.phase", "training", "{string}", log.where(main.at)))
        rows += [(s.name, s.value, s.unit, log.where(s.at)) for s in known.values()]
        rows += _per_gpu(rows, known, log.where(main.at))
    # the Trainer times its whole run, a bar or a clock only what the log shows of it
    seconds = next((p.seconds for p in (*others, *reversed(timed)) if p.seconds), main.window.seconds)
    source = Source(KIND, log.origin, "ok", _note(log, main, (*timed, *others)))
    series = next((p.series for p in timed if p.series), {})
    return [Told((Reading(source, facts(rows, log.origin), series),), (), None, seconds)]


def _parts(log: Log, batch: Callable[[], float | None]) -> list[Part]:
    """What each family says, in the order in which they are believed."""
    iterations = megatron.read(log)
    stepping = None if iterations else lines.read(log)
    trainer = huggingface.read(log, batch)
    engine = deepspeed.read(log, batch)
    report = lightning.read(log)
    total = next((r[1] for r in (trainer.rows if trainer else ()) if r[0] == "ml.step.count"), None)
    shown = bars.read(
        log, total if isinstance(total, float) else None, trains=trainer is not None or report is not None
    )
    if shown is not None:  # a whole run's mean holds warm-up and pauses, which a bar over minutes shows apart
        shown.coarse = shown.coarse and trainer is None
    found = (iterations, stepping, report, shown, engine, trainer)
    return [part for part in found if part is not None and not part.empty]


def _number(said: Said | None) -> float | None:
    return said.value if said is not None and isinstance(said.value, float) else None


def _per_gpu(rows: Sequence[Row], known: dict[str, Said], where: str) -> Iterator[Row]:
    """Throughput of one GPU from that of the job, where the log tells how many there are; tokens from samples."""
    told = {name: value for name, value, _, _ in reversed(rows) if isinstance(value, float)}
    world = _number(known.get("config.distributed.world_size"))
    samples = told.get("ml.throughput.samples.job")
    batch, step = _number(known.get("ml.batch.global")), told.get("ml.step.time")
    if samples is None and batch and step:
        samples = batch / step
        yield row("ml.throughput.samples.job", samples, "{sample}/s", where)
    length = _number(known.get("ml.sequence_length.max"))
    megatron_like = "config.tensor_parallel.size" in known  # there every sample is cut to that length
    tokens = told.get("ml.throughput.tokens.job") or (
        samples * length if samples and length and megatron_like else None
    )
    yield row("ml.throughput.tokens.job", tokens, "{token}/s", where)
    if world:
        yield row("ml.throughput.samples", samples / world if samples else None, "{sample}/s", where)
        yield row("ml.throughput.tokens", tokens / world if tokens else None, "{token}/s", where)


def _note(log: Log, main: Part, parts: Sequence[Part]) -> str:
    said = [note for part in parts for note in part.notes if note]
    names = ", ".join(dict.fromkeys(part.name for part in parts))
    told = "; ".join(x for x in (main.window.note(), *said, log.note) if x)
    return f"a training log ({names})" + (f": {told}" if told else "")
