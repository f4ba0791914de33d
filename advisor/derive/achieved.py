"""Formulas about how much of what the hardware can really do a run does: the question whether anything is left to win.

The yardstick is what was measured on this machine, or what real kernels reach at all, and not the data sheet: the
best matrix products end well below the printed peak (Stas Bekman, Machine Learning Engineering, accelerators).
"""

from __future__ import annotations

from advisor.derive.formula import formula

DRAM_CEILING = 0.8  # share of cycles that the memory interface is busy in the best real kernels (DCGM user guide)
WRONG = 1.1  # a run that does more than the probe reached by so much is not described by its figures


def _reached(precision: str, bf16: float | None, fp32: float | None) -> float | None:
    """The rate of the probe in the precision of the run."""
    return {"bf16": bf16, "fp16": bf16, "fp32": fp32}.get(precision)


def _share(done: float, reached: float | None) -> float | None:
    share = done / reached if reached else None
    return None if share is None or share > WRONG else min(1.0, share)


@formula(
    "derived.matmul.achieved.fraction",
    "ml.throughput.flops",
    "config.precision.compute",
    optional=("probe.matmul.bf16.rate", "probe.matmul.fp32.rate"),
)
def matmul_achieved_by_program(flops: float, precision: str, bf16: float | None, fp32: float | None) -> float | None:
    """FLOP/s of the model as the program computes them, over what the probe reached here.

    >>> matmul_achieved_by_program(480e12, "bf16", 600e12, None), matmul_achieved_by_program(9e12, "fp32", None, None)
    (0.8, None)
    """
    return _share(flops, _reached(precision, bf16, fp32))


@formula(
    "derived.matmul.achieved.fraction",
    "ml.throughput.tokens",
    "config.model.parameters",
    "config.precision.compute",
    optional=("probe.matmul.bf16.rate", "probe.matmul.fp32.rate", "run.phase", "ml.expert.load.imbalance"),
)
def matmul_achieved(
    tokens: float,
    parameters: float,
    precision: str,
    bf16: float | None,
    fp32: float | None,
    phase: str | None,
    experts: float | None,
) -> float | None:
    """Training FLOP/s (6 per parameter and token: forward 2, backward 4) over what the probe reached here.

    None outside training and with experts, where not every parameter computes on every token; None as well where the
    result is well above 1, because then something like that is the case. Attention's own products are left out, which
    errs on the low side. Source: Kaplan et al. 2020 (arXiv 2001.08361), section 2.1.

    >>> matmul_achieved(10e3, 7e9, "bf16", 600e12, None, "training", None)
    0.7
    >>> matmul_achieved(10e3, 7e9, "fp32", 600e12, None, None, None)
    >>> matmul_achieved(10e3, 70e9, "bf16", 600e12, None, "training", None)
    >>> matmul_achieved(10e3, 7e9, "bf16", 600e12, None, "training", 1.2)
    """
    if phase not in (None, "training") or experts is not None:
        return None
    return _share(6 * parameters * tokens, _reached(precision, bf16, fp32))


@formula("derived.gpu.bandwidth.achieved.fraction", "hw.gpu.dram.active")
def bandwidth_achieved(active: float) -> float:
    """Busy share of the memory interface over the share that the best real kernels reach (DCGM user guide).

    >>> bandwidth_achieved(0.68), bandwidth_achieved(0.84)
    (0.85, 1.0)
    """
    return min(1.0, round(active / DRAM_CEILING, 6))
