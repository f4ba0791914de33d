"""What can be won back at most: Amdahl's bound, and what it means in seconds and in tokens or samples per second."""

from __future__ import annotations

from advisor.models import Expected, Gain, Values

# Shares of one step: without that part the step is shorter and the rate higher. Other shares (of the whole run, of
# a clock) bound the speed-up as well, but say nothing about one step.
_OF_STEP = ("ml.step.", "trace.", "derived.rank.", "derived.attention.step.", "derived.tensor_core.step.")
_OF_REQUEST = ("derived.serving.",)
_STEP_TIME, _REQUEST_TIME = "ml.step.time", "gen_ai.server.request.duration"
_RATES = ("ml.throughput.tokens.job", "ml.throughput.tokens", "ml.throughput.samples.job", "ml.throughput.samples")


def gain(fact: str | None, values: Values) -> Gain | None:
    """The bound when the share that `fact` gives is known: 1 / (1 - share) (Amdahl, 1967)."""
    share = values.get(fact) if fact else None
    if not fact or not isinstance(share, float) or not 0.0 < share < 1.0:
        return None
    return Gain(round(share, 4), round(1.0 / (1.0 - share), 2), fact, _expected(fact, share, values))


def _expected(fact: str, share: float, values: Values) -> tuple[Expected, ...]:
    """The time and the rate that are known now, and what they come to when the whole share is won back."""
    if fact.startswith(_OF_REQUEST):
        return _times(_REQUEST_TIME, share, values)
    if not fact.startswith(_OF_STEP):
        return ()
    rates = [(name, values[name]) for name in _RATES if isinstance(values.get(name), float)]
    faster = tuple(Expected(name, now, _six(now / (1.0 - share))) for name, now in rates[:1] if isinstance(now, float))
    return _times(_STEP_TIME, share, values) + faster


def _times(name: str, share: float, values: Values) -> tuple[Expected, ...]:
    now = values.get(name)
    return (Expected(name, now, _six(now * (1.0 - share))),) if isinstance(now, float) else ()


def _six(value: float) -> float:
    """Six significant digits: the share has four."""
    return float(f"{value:.6g}")
