"""The text format of Prometheus: families with their help, labelled samples, histograms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Labels = Mapping[str, object]


def number(value: float) -> str:
    """As Go and Python clients print numbers: integers bare, others short."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e15 else repr(round(float(value), 6))


def sample(name: str, labels: Labels, value: float) -> str:
    """One line."""
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {number(value)}" if inside else f"{name} {number(value)}"


def family(name: str, kind: str, samples: Iterable[tuple[Labels, float]], text: str = "") -> list[str]:
    """A family with its two lines of description."""
    head = [f"# HELP {name} {text or name.replace('_', ' ')}", f"# TYPE {name} {kind}"]
    return head + [sample(name, labels, value) for labels, value in samples]


def histogram(name: str, labels: Labels, bounds: Sequence[float], seen: Sequence[tuple[float, float]]) -> list[str]:
    """A histogram of values with their weights; `seen` is of everything since the start."""
    lines = [f"# HELP {name} Histogram of {name}.", f"# TYPE {name} histogram"]
    count = sum(weight for _, weight in seen)
    for bound in bounds:
        below = sum(weight for value, weight in seen if value <= bound)
        lines.append(sample(f"{name}_bucket", {**labels, "le": repr(float(bound))}, below))
    lines.append(sample(f"{name}_bucket", {**labels, "le": "+Inf"}, count))
    lines.append(sample(f"{name}_count", labels, count))
    lines.append(sample(f"{name}_sum", labels, sum(value * weight for value, weight in seen)))
    return lines


def page(*families: Sequence[str]) -> str:
    """A whole page."""
    return "\n".join(line for lines in families for line in lines) + "\n"
