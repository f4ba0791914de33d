"""What training programs call their metrics: name -> which quantity it is, and in what unit.

The same names stand in log lines, in JSON lines and as tags of TensorBoard. They are compared without case and
punctuation, and a prefix (``train/``, ``throughput/device/``) may stand before them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# What a metric can be: seconds per step, steps per second, seconds or share of a step spent waiting for data, tokens or
# samples per second (of one GPU, or of the job), FLOP/s of one GPU, shares of the peak, bytes of device memory.
STEP, RATE, WAIT, WAITING = "step", "rate", "wait", "waiting"
TOKENS, JOB_TOKENS, SAMPLES, JOB_SAMPLES = "tokens", "job tokens", "samples", "job samples"
FLOPS, MFU, HFU, MEMORY, MEMORY_SHARE = "flops", "mfu", "hfu", "memory", "memory share"


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a metric is, and the factor to seconds, bytes, FLOP/s or a share of 1."""

    what: str
    scale: float = 1.0


_NAMES: Mapping[Quantity, str] = {
    Quantity(STEP): (
        "time|batch time|iter time|iteration time|step time|train time|time per step|time per iter|time per iteration"
        "|time per batch|step duration|train step timing in s|train step timing|iter time s|step time s|seconds|dt"
        "|step time seconds|avg batch cost|batch cost|time iter|time step|sec per step|sec per iter|sec iter|s it"
        "|s iter|s step|train speed s it|iteration time seconds|end to end s|seconds per step|perf step time seconds"
    ),
    Quantity(STEP, 1e-3): (
        "ms step|ms iter|ms it|ms batch|ms per step|ms per iter|ms per iteration|ms per batch|step time ms"
        "|iter time ms|iteration time ms|batch time ms|time ms|dt ms|elapsed time per iteration ms|step ms"
    ),
    Quantity(RATE): (
        "it s|iter s|iters s|its s|steps s|step s 1|steps per second|steps per sec|train steps per second|it per s"
        "|batches per second|batches per sec|iterations per second|iter per sec|updates per second|ups|steps sec"
        "|train speed iter s|global step sec|iters per sec|iter sec|batches s"
    ),
    Quantity(WAIT): (
        "data|data time|data load time|data loading time|data loading|dataload|dataloading|dataload time"
        "|dataloader time|loader time|load time|loading time|avg reader cost|reader cost|dt data|time data|data s"
        "|data fetch time|data wait|data wait time|data loading s|batch load time|time data loading|fetch time"
    ),
    Quantity(WAIT, 1e-3): "data ms|data time ms|data loading ms|load ms|dataload ms|data wait ms",
    Quantity(WAITING): "data wait fraction|data fraction",
    Quantity(WAITING, 0.01): "data loading percent|data loading pct|time loading pct|data pct|data wait pct",
    Quantity(TOKENS): (
        "tokens s device|tokens s gpu|tokens per gpu per second|tokens per gpu per second tgs|tgs|tps"
        "|tokens gpu second|tokens per second per gpu|tokens per sec per gpu|device tokens per sec|tokens sec gpu"
        "|tok s gpu|throughput tps|per device tokens per sec|tokens per second per device|tps gpu|tokens second gpu"
    ),
    Quantity(JOB_TOKENS): (
        "tokens s|tok s|tok sec|tokens sec|tokens per second|tokens per sec|toks per sec|wps|train tokens per second"
        "|tokens second|total tps|tokens throughput|words s"
    ),
    Quantity(SAMPLES): (
        "samples s device|samples s gpu|samples per gpu per second|device samples per sec|samples per second per gpu"
        "|samples sec gpu|images s gpu|per device samples per sec"
    ),
    Quantity(JOB_SAMPLES): (
        "samples s|samples sec|samples per second|samples per sec|train samples per second|imgs s|img s|images s"
        "|img sec|imgs sec|images sec|images per second|images per sec|examples s|examples sec|examples per second"
        "|examples per sec|seq s|seqs s|sequences s|currsamplespersec|samplespersec|curr samples per sec|img per sec"
    ),
    Quantity(FLOPS, 1e12): (
        "throughput per gpu tflop s gpu|tflop s gpu|tflop s device|tflop s|tflops|tflops s|tflops gpu|tflops s gpu"
        "|per device tflops per sec|compute per gpu tflop s gpu|tflops per gpu|device tflops|throughput tflops"
        "|model tflops"
    ),
    Quantity(FLOPS): "device flops per sec|flops per sec per gpu",
    Quantity(MFU): "mfu|device mfu",
    Quantity(HFU): "hfu|device hfu",
    Quantity(MFU, 0.01): "mfu pct|mfu percent",
    Quantity(MEMORY, 2.0**20): "max mem|memory|mem|gpu mem|max memory|peak memory|peak mem|max mem mb|memory mb|mem mb",
    Quantity(
        MEMORY, 2.0**30
    ): "max mem gb|memory gb|max active gib|peak memory gb|mem gb|peak allocated mem|max allocated gib",
    Quantity(MEMORY_SHARE, 0.01): "max reserved",
}
_QUANTITIES = {name: quantity for quantity, names in _NAMES.items() for name in names.split("|")}
_PUNCTUATION = re.compile(r"[^a-z0-9%]+")
_PREFIXES = frozenset("train training perf timing time metrics throughput speed performance memory global".split())


def plain(name: str) -> str:
    """A name without case and punctuation.

    >>> plain("Train/throughput/device/tokens_per_sec"), plain("memory(GB)"), plain("mfu(%)")
    ('train throughput device tokens per sec', 'memory gb', 'mfu pct')
    """
    return _PUNCTUATION.sub(" ", name.lower().replace("%", " pct ")).strip()


def quantity(name: str) -> Quantity | None:
    """Which quantity a metric is; None for all others.

    >>> quantity("Train throughput/device/tokens_per_sec").what, quantity("ms/batch"), quantity("loss")
    ('tokens', Quantity(what='step', scale=0.001), None)
    """
    words = plain(name).split()
    while words:
        found = _QUANTITIES.get(" ".join(words))
        if found is not None or words[0] not in _PREFIXES:
            return found
        words = words[1:]
    return None
