"""Counts training steps: how long each took, and how much of it was data, forward, backward, optimizer, saving.

A step is the time between two ends of the primary optimizer's `step`, in one thread. Steps are kept apart by the
set of loaders that were iterated in them, so that the reader can leave evaluation out. Time spent saving
checkpoints belongs to no step. Memory is bounded: the first steps singly, then groups. No decisions are made here.

Between two lines of the user's program every bit of code of ours is cold and slow. There only a tuple (kind, thread,
time, ...) is noted; `count` adds hundreds of them up at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from collections.abc import Callable
from threading import get_ident
from time import perf_counter, thread_time
from types import FrameType
from typing import Any

from . import describe, extras, output, stacks
from .groups import Group, Step, alone
from .loaders import PROBED, Loader, Loaders
from .pauses import Pauses
from .syncs import Syncs

HEAD = 64
EVENTS = 512
BATCH, ASKED, PASS, EPOCH, BACKWARD, OTHER, END = range(7)
GROUPS = 8
PLACES = 32
EVERY_S = 1.0
SELDOM_S = 5.0  # one asks while a run goes on, and a run may be killed
COST = 0.001  # the share of the time that may go into writing the output


def _unknown() -> bool:
    return True


class Recorder:
    """Everything measured in this process. `stopped` is set when the hook has given up."""

    def __init__(self) -> None:
        self.stopped = False
        self.on_write: Callable[[], None] = lambda: None  # looks for modules that were imported meanwhile
        self.pauses = Pauses()
        self.reset()

    def reset(self) -> None:
        """Begin anew: at the start and in a forked child."""
        self.name = f"process-{os.getpid()}-{int(output.STARTED * 1000):x}.json"
        self.loaders = Loaders()
        self.syncs = Syncs()
        self.events: list[tuple[Any, ...]] = []
        self.open: dict[int, Step] = {}
        self.began: dict[int, float] = {}  # by thread, when the optimizer's step began that is going on
        self.head: list[dict[str, Any]] = []
        self.groups: dict[tuple[int, ...], Group] = {}
        self.primary: Any = None
        self.others = self.ends = self.backwards = 0
        self.last: float | None = None
        self.thread: int | None = None
        self.in_backward: int | None = None
        self.cuda = False
        self.grad: Callable[[], bool] = _unknown
        self.first_end: float | None = None
        self.paused_before = 0.0
        self.process: dict[str, Any] | None = None
        self.memory: list[tuple[int, dict[str, float]]] = []
        self.saves: dict[str, Any] = {"count": 0, "seconds": 0.0, "places": {}}
        self.saved_at = -1
        self.evaluated: Any = None
        self.tokenizes: str | None = None
        self.due = 0.0
        self.written = False
        self.nodes: list[tuple[int, int]] = []  # at the first and the last boundary: steps, operations
        self.nodes_asked = 0

    # --- loaders ---

    def made(self, loader: Any, frame: FrameType) -> None:
        """A DataLoader is being made by `frame`."""
        self.loaders.made(loader, frame)

    def iterating(self, loader: Any, iterator: Any, took: float = 0.0) -> None:
        """`iterator` runs over `loader` (None when that is not known) and took `took` seconds to make."""
        known = self.loaders.of(loader, iterator)
        self.grad = sys.modules["torch"].is_grad_enabled
        with contextlib.suppress(TypeError):  # some other class came back from __iter__; its __next__ asks again
            vars(iterator)["_advisor_loader"] = known
            vars(iterator)["_advisor_new"] = took
        self.events.append((PASS, get_ident(), perf_counter()))
        if self.first_end is None:
            self.on_write()

    def device_busy(self) -> bool | None:
        """Whether the GPU still has queued work, in the thread that trains; None when that cannot be asked."""
        cuda = describe.cuda_ready()
        if cuda is None or (self.thread is not None and self.thread != get_ident()):
            return None
        if hasattr(cuda, "is_current_stream_capturing") and cuda.is_current_stream_capturing():
            return None  # asking would spoil the graph that is being captured
        return not cuda.current_stream().query()

    def asked(self, loader: Loader) -> None:
        """The program asks `loader`, which does not only feed the training, for a batch."""
        self.events.append((ASKED, get_ident(), perf_counter(), loader))
        model = self.evaluated() if self.evaluated is not None else None
        evaluating = model is not None and not model.training
        loader.evaluating += evaluating
        if loader.probed < PROBED and (evaluating or not self.ends):
            loader.probe(self.backwards)

    def waited(self, loader: Loader, start: float, now: float, spent: tuple[float, float] | None) -> None:
        """A batch that was asked for at `start` arrived.

        `spent` are the seconds for which this thread ran and waited for a CPU meanwhile, if known.
        """
        busy = self.device_busy() if self.cuda else None
        self.events.append((BATCH, get_ident(), now, loader, start, spent, self.grad(), busy, loader.collating))
        if self.first_end is None and now >= self.due:
            self._write()
        elif len(self.events) > EVENTS:
            self.count()

    def epoch(self, loader: Loader, now: float, seconds: float) -> None:
        """The first batch of a pass over `loader` took `seconds`, making the iterator included."""
        loader.epochs += 1
        if loader.epochs > 1:
            loader.epoch_start += seconds
            self.events.append((EPOCH, get_ident(), now, seconds))

    # --- steps ---

    def step_ends(self, optimizer: Any) -> None:
        """Some optimizer's `step` has ended; when it is the primary one, so has the training step."""
        now = perf_counter()
        thread = get_ident()
        primary = self.primary() if self.primary is not None else None
        if primary is optimizer:
            self.others = 0
        elif not self._becomes_primary(optimizer, primary):
            self.events.append((OTHER, thread, now, self.began.pop(thread, 0.0)))
            if len(self.events) > EVENTS:
                self.count()
            return
        self.events.append((END, thread, now, self.began.pop(thread, 0.0)))
        self.ends += 1
        extras.step_ended(optimizer, self.ends)
        if self.ends <= HEAD or now >= self.due or len(self.events) > EVENTS or self.syncs.wants(self.ends):
            self._boundary(now, thread, optimizer)

    def _boundary(self, now: float, thread: int, optimizer: Any) -> None:
        """What is not done after every step."""
        self.count()
        if self.process is None:
            self.first_end = now - output.START
            self.paused_before = self.pauses.seconds
            self.process = describe.process(optimizer)
            stacks.sampler.clear()
            self.due = min(self.due, now + EVERY_S)  # a run that is killed early has said something
            self.on_write()
        self.cuda = describe.cuda_ready() is not None
        self._recorded()
        step = self._of(thread)
        self.syncs.step(self.ends, step)
        if now >= self.due:
            self._write()
        # What the hook itself did at this boundary belongs to no step.
        self.last = step.mark = step.ended = perf_counter()

    def _recorded(self) -> None:
        """Note how many operations autograd has recorded in this thread so far; asking is one of them."""
        nodes = describe.autograd_nodes()
        if nodes is not None:
            self.nodes_asked += 1
            self.nodes = [*self.nodes[:1], (self.ends, nodes - self.nodes_asked)]

    def _becomes_primary(self, optimizer: Any, current: Any) -> bool:
        """Whether `optimizer` takes the place of `current`, which is gone or not used any more."""
        self.others += 1
        if current is None or self.others > 50:
            self.count()
            self.primary, self.others, self.last = weakref.ref(optimizer), 0, None
            return True
        return False

    def _of(self, thread: int) -> Step:
        step = self.open.get(thread)
        if step is None:
            if len(self.open) > 64:
                self.open.clear()
            step = self.open[thread] = Step()
        return step

    def now(self) -> Step:
        """What has happened in this thread since its last step, all events counted."""
        self.count()
        return self._of(get_ident())

    def count(self) -> None:
        """Add up what was noted."""
        events, self.events = self.events, []
        for event in events:
            kind, thread, now = event[:3]
            step = self._of(thread)
            if kind == BATCH:
                loader, start, spent, grad, busy, collate = event[3:]
                loader.waited(now - start, spent, grad, collate)
                step.arrived(loader, now - start, now, busy)
            elif kind == BACKWARD:
                step.backward_ended(event[3], event[4], now)
            elif kind == OTHER:
                step.optimizer_ended(event[3], now)
            elif kind == END:
                step.optimizer_ended(event[3], now)
                self._ended(thread, now, step)
            elif kind == ASKED:
                step.asks(event[3], now)
            elif kind == EPOCH:
                step.epoch += event[3]
            else:
                step.loader = None

    def _ended(self, thread: int, now: float, step: Step) -> None:
        if self.last is not None and self.thread == thread:
            self._add(now - output.START, now - self.last - step.save, step)
        self.thread, self.last = thread, now
        step.clear(now)

    def _add(self, at: float, time: float, step: Step) -> None:
        if len(self.head) < HEAD:
            for index in step.loaders:
                self.loaders.all[index].trains = True
            self.head.append(alone(at, time, step))
            return
        key = step.loaders if step.loaders in self.groups or len(self.groups) < GROUPS else (-1,)
        if key not in self.groups:
            self.groups[key] = Group(key)
        self.groups[key].add(at, time, step)

    # --- saving ---

    def saved(self, seconds: float) -> None:
        """The training thread spent `seconds` writing a checkpoint; several in one step are one checkpoint."""
        step = self.now()
        if not self.ends or self.thread != get_ident() or step.saving:
            return
        step.save += seconds
        step.mark += seconds
        saves = self.saves
        saves["seconds"] += seconds
        saves["count"] += self.saved_at != self.ends
        self.saved_at = self.ends
        place = str(describe.where(sys._getframe(1)))  # noqa: SLF001 - frames have no public name
        places = saves["places"]
        if place in places or len(places) < PLACES:
            places[place] = places.get(place, 0.0) + seconds

    # --- output ---

    def _write(self) -> None:
        spent = thread_time()  # not the clock on the wall: a busy machine must not make us fall silent
        self.on_write()
        self.write()
        spent = thread_time() - spent
        self.due = perf_counter() + min(SELDOM_S, max(EVERY_S, spent / COST))

    def write(self, ended: bool = False) -> None:
        """Replace this process's output file."""
        self.written = True
        self.count()
        if ended:
            stacks.sampler.write()
        output.at_exit(self.finish)
        snapshot = describe.memory()
        if snapshot is not None:
            self.memory.append((self.ends, snapshot))
            if len(self.memory) > 128:
                self.memory = self.memory[::2]
        content = {
            "pid": os.getpid(),
            "ppid": output.parent(),
            "command": getattr(sys, "argv", [])[:1],
            "started": output.STARTED,
            "seconds": perf_counter() - output.START,
            "cwd": output.CWD,
            "ended": ended,
            "ends": self.ends,
            "backwards": self.backwards,
            "first_end": self.first_end,
            "loaders": [loader.content() for loader in self.loaders.all],
            "head": self.head,
            "groups": [group.content() for group in self.groups.values()],
            "process": self.process,
            "memory": self.memory,
            "saves": self.saves,
            "syncs": self.syncs.places,
            "pauses": dict(self.pauses.content(), before=self.paused_before),
            "tokenizes": self.tokenizes,
            "nodes": self.nodes,
            "extras": extras.content(),
        }
        output.write(self.name, content)

    def finish(self) -> None:
        """Write a last time, when the process ends; a forked child that measured nothing leaves no file."""
        if not self.written:
            return
        try:
            self.write(ended=True)
        except Exception as error:
            from . import fail

            fail("writing the last numbers", error)


recorder = Recorder()
