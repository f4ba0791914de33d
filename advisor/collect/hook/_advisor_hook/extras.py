"""Joins the parts that observe how the program is set up: model, parallelism, traffic, batches.

The recorder of steps calls in at each step boundary; every part looks at single steps only and answers once.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from . import batch, leave, model, traffic, wrappers

PARTS: dict[str, Any] = {"model": model, "distributed": wrappers, "traffic": traffic, "batches": batch}
STEPPED: tuple[Any, ...] = (model, wrappers, traffic)


def imported(module: ModuleType) -> None:
    """The program has imported one of the modules that a part wants to see."""
    for source in PARTS.values():
        place = source.WATCHED.get(module.__name__)
        if place is not None:
            source.part.run(place, module)


def step_ended(optimizer: Any, ends: int) -> None:
    """The primary optimizer has ended its step number `ends`; most steps concern no part, and cost next to nothing."""
    if ends > traffic.FIRST + 1 and not traffic.counts.concerns(ends) and not wrappers.made["DDP"].count:
        return
    if ends == 2:
        leave()
    for source in STEPPED:
        source.part.run(source.step_ended, optimizer, ends)


def arrived(loader: int, drawn: int, content: Any) -> int:
    """A DataLoader, known by its index, gave its batch number `drawn`; which number is to be looked at next."""
    return batch.part.run(batch.arrived, loader, drawn, content) or batch.NEVER


def content() -> dict[str, Any]:
    """For the output file: what each part saw, and why parts were lost."""
    found = {name: source.part.run(source.content) for name, source in PARTS.items()}
    return dict(found, lost=[source.part.lost for source in PARTS.values() if source.part.lost])


def reset() -> None:
    """Forget the parent's numbers in a forked child."""
    for source in PARTS.values():
        source.part.run(source.reset)


def undo() -> None:
    """Put everything back."""
    for source in PARTS.values():
        source.part.run(source.part.take)
