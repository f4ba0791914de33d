"""The places in the program that make a DataLoader, with what was seen of their batches."""

from __future__ import annotations

import contextlib
import weakref
from types import FrameType
from typing import Any

from . import describe

LOADERS = 32
OFTEN, SELDOM = 128, 16  # what costs much is done for the first batches, then for one in so many
PROBED = 64  # the batches whose autograd recording is looked at


class Loader:
    """A place in the program that makes a DataLoader. Times are seconds, of the first batch apart from the others."""

    NUMBERS = ("batches", "no_grad", "wall", "first_wall", "cpu", "delay", "timed", "collate", "first_collate", "held",
               "evaluating", "probed", "recorded", "epochs", "epoch_start")  # fmt: skip

    def __init__(self, index: int, settings: dict[str, Any], made: str | None) -> None:
        self.index = index
        self.samples = settings.get("batch_size") or 0
        self.in_process = not settings.get("num_workers")
        self.facts = dict(settings, where=made, loop=None)
        self.asked_loop = False
        self.batches = self.no_grad = self.timed = self.evaluating = self.probed = self.recorded = self.epochs = 0
        self.wall = self.cpu = self.delay = self.first_wall = self.collate = self.first_collate = 0.0
        self.held = self.epoch_start = 0.0
        self.turn = self.drawn = self.look = 0  # batches asked for, batches given, and which of them is looked at next
        self.collating = 0.0  # of the batch that is being made
        self.trains = False  # a step has drawn from it
        self.nodes: tuple[int, int] | None = None

    def begun(self, frame: FrameType) -> None:
        """The program asks for the first batch: note where."""
        self.asked_loop = True
        self.facts["loop"] = describe.where(frame)

    def samples_cpu(self) -> bool:
        """Whether to ask the kernel for the CPU time of the next batch, which costs more than all the rest."""
        self.turn += 1
        return self.turn < OFTEN or self.turn % SELDOM == 0

    def times_collate(self) -> bool:
        """Whether to time the collating of the batch that is made now; else that of the last one stands for it."""
        return self.turn < OFTEN or self.turn % 4 == 0

    def waited(self, wall: float, spent: tuple[float, float] | None, grad: bool, collate: float) -> None:
        """One batch has arrived; `spent` is None when the kernel was not asked what the thread did."""
        if not self.batches:
            self.first_wall, self.first_collate = wall, collate
        elif spent is not None:
            self.timed += 1
            self.cpu += spent[0]
            self.delay += spent[1]
        self.batches += 1
        self.wall += wall
        self.collate += collate
        self.no_grad += not grad

    def probe(self, backwards: int) -> None:
        """A batch is asked for: look whether autograd recorded since the last one what no backward pass used.

        `backwards` counts the backward passes so far.
        """
        nodes = describe.autograd_nodes()
        if nodes is None:
            self.probed += 1
            self.nodes = None
            return
        if self.nodes is not None:
            self.probed += 1
            self.recorded += self.nodes[1] == backwards and nodes - self.nodes[0] > 1  # the question itself is one
        self.nodes = nodes, backwards

    def content(self) -> dict[str, Any]:
        """For the output file."""
        return dict(self.facts, **{name: getattr(self, name) for name in self.NUMBERS})


class Loaders:
    """All of them; those beyond `LOADERS` are counted with the last one."""

    def __init__(self) -> None:
        self.all: list[Loader] = []
        self._places: Any = weakref.WeakKeyDictionary()
        self._by_key: dict[Any, Loader] = {}

    def made(self, loader: Any, frame: FrameType) -> None:
        """A DataLoader is being made by `frame`."""
        place = describe.where(frame)
        with contextlib.suppress(TypeError):  # a subclass that cannot be hashed stays without a place
            self._places[loader] = place

    def of(self, loader: Any, iterator: Any) -> Loader:
        """What counts for `iterator` over `loader` (None when that is not known)."""
        settings = describe.loader(iterator if loader is None else loader)
        try:
            place = self._places.get(loader) if loader is not None else None
        except TypeError:
            place = None
        key = (place, str(settings))
        known = self._by_key.get(key)
        if known is None:
            if len(self.all) < LOADERS:
                self.all.append(Loader(len(self.all), settings, place))
            if len(self._by_key) > 16 * LOADERS:
                self._by_key.clear()
            known = self._by_key[key] = self.all[-1]
        return known
