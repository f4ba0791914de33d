"""What one command said: the state of GPUs at one or more moments, in base units.

The keys of a state are those of `metrics.gpu_facts`, and ``throttle.NAME`` for each reason for low clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from advisor.readers.rows import Row

Name = str  # the index of a GPU, else its PCI address; "" when a line does not say of which GPU it is
# What does not change with the load, so that it may come from a look at the idle machine.
FIXED = frozenset(
    (
        "total", "limit", "default", "sm_max", "gen_max", "width_max", "persistence", "mig", "instances",
        "ecc", "sram", "remapped", "remap_pending", "remap_failed", "retired", "retired_pending", "inactive",
    )
)  # fmt: skip
MOST = 50_000  # moments; a day of seconds has 86,400
# What may be below zero, and what nothing exceeds: more is a cell of another column.
_SIGNED = frozenset(("margin", "temperature"))
_MOST = {
    **dict.fromkeys(("util", "encoder", "decoder", "sm_active", "occupancy", "tensor", "dram", "fp64"), 1.0),
    **dict.fromkeys(("throttle.power_cap", "throttle.thermal"), 1.0),
}


@dataclass
class Moment:
    """Numbers per GPU, and when: seconds on a clock of an unknown zone, None when that is not told."""

    gpus: dict[Name, dict[str, float]] = field(default_factory=dict)
    time: float | None = None

    def state(self, gpu: Name) -> dict[str, float]:
        """The state of one GPU, for filling in."""
        return self.gpus.setdefault(gpu, {})

    def put(self, gpu: Name, key: str, value: float | None) -> None:
        """Note a value that is there; what the command said first counts."""
        if value is not None and (key in _SIGNED or 0 <= value <= _MOST.get(key, value)):
            self.state(gpu).setdefault(key, value)


@dataclass
class Look:
    """The output of one command.

    Args:
        form: how a person calls the command.
        at: where it begins in the text.
        end: where it ends.
        moments: what changes with the load, oldest first.
        words: what is told in words, such as ``name`` and ``bus`` of a GPU; of the machine under "".
        rows: facts that this form gives by itself.
        broken: GPUs that are listed and do not answer; `lost`: those that the driver lost.
        rank: among forms of equally many moments the one of the higher rank is believed.
        label: ``idle`` or ``load`` where a heading says so.
        attached: how many GPUs the driver has.
        host: whose output it is, where several machines print into one text.
        now: the moment that is being read.
    """

    form: str
    at: int
    end: int
    moments: list[Moment] = field(default_factory=list)
    words: dict[Name, dict[str, str]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    broken: set[Name] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    rank: int = 0
    label: str = ""
    attached: int | None = None
    host: str = ""
    now: Moment | None = None
    _begun: int = 0
    _stride: int = 1

    def begin(self, time: float | None = None) -> Moment:
        """A new moment; of a recording so long that it would fill the memory every second, fourth, ... is kept."""
        self.now = Moment(time=time)
        if self._begun % self._stride == 0:
            self.moments.append(self.now)
            if len(self.moments) > MOST:
                self.moments = self.moments[::2]
                self._stride *= 2
        self._begun += 1
        return self.now

    def say(self, gpu: Name, key: str, word: str | None) -> None:
        """Note a word that is there."""
        if word:
            self.words.setdefault(gpu, {}).setdefault(key, word)

    def states(self) -> Iterator[tuple[Name, dict[str, float]]]:
        """Every state of every GPU."""
        for moment in self.moments:
            yield from moment.gpus.items()

    def rename(self, names: Mapping[Name, Name]) -> None:
        """Give the GPUs other names."""
        for moment in self.moments:
            moment.gpus = {names.get(gpu, gpu): state for gpu, state in moment.gpus.items()}
        self.words = {names.get(gpu, gpu): words for gpu, words in self.words.items()}
        self.broken = {names.get(gpu, gpu) for gpu in self.broken}

    @property
    def empty(self) -> bool:
        """Whether it says nothing."""
        return not (self.words or self.rows or self.broken or self.lost or any(state for _, state in self.states()))


Parse = Callable[[str, int], Look]  # text, where the sign of the form was found -> what stands there


def level(moment: Moment) -> float | None:
    """How busy the busiest GPU is, its video engines included; None when no GPU tells."""
    told = [state[key] for state in moment.gpus.values() for key in ("util", "encoder", "decoder") if key in state]
    return max(told, default=None)
