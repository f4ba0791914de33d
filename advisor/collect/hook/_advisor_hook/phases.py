"""Probes for what else a training step does: backward, checkpoints, evaluation, tokenizing.

The modules concerned are imported before or after torch's optimizers, or never; `look` probes those that are there,
each once. A name that a version of a library lacks is passed over: then its part stays unmeasured.
"""

# ruff: noqa: SLF001 - parts of the probed libraries are private, and frames have no public name

from __future__ import annotations

import functools
import sys
import types
import weakref
from collections.abc import Callable
from threading import get_ident
from time import perf_counter
from typing import Any

from . import describe, fail, fetch, steps, traffic
from .probe import Call, Probe, Timed, put, timed

# Functions that write a checkpoint, under the module whose global name all their callers use.
SAVES = {
    "safetensors.torch": ("_flatten", "serialize", "serialize_file"),
    "torch.distributed.checkpoint.state_dict_saver": ("_save_state_dict", "async_save"),
    "torch.distributed.checkpoint": ("async_save",),
    "lightning.fabric.plugins.io.torch_io": ("_atomic_save",),
    "lightning_fabric.plugins.io.torch_io": ("_atomic_save",),
}
TOKENIZER = ("__call__", "encode", "encode_plus", "batch_encode_plus")
ASKED = 64  # the calls of a tokenizer that are looked at one by one; later ones now and then

_seen: set[str] = set()
_tokenizer_calls = 0


def look() -> None:
    """Probe the modules that have been imported since the last look."""
    for name, probe in _PROBES.items():
        if name not in _seen:
            module = sys.modules.get(name)
            if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
                _seen.add(name)
                probe(module)


def _autograd(module: types.ModuleType) -> None:
    """Only `backward`: torch.compile can trace `grad`, and would stop at a probe there."""
    put(module, "backward", Timed(module.backward, _backward))


class Backward(Call):
    """One call of `torch.autograd.backward`, which `Tensor.backward` calls too."""

    start: float

    def __del__(self) -> None:
        """The pass is over."""
        try:
            recorder = steps.recorder
            recorder.in_backward = None
            recorder.backwards += 1
            thread = get_ident()
            event = (steps.BACKWARD, thread, perf_counter(), self.start, recorder.began.get(thread, 0.0))
            recorder.events.append(event)
            if len(recorder.events) > steps.EVENTS:
                recorder.count()
        except Exception as error:
            fail("measuring a backward pass", error)


def _backward(function: Callable[..., Any]) -> Any:
    recorder = steps.recorder
    if recorder.in_backward == get_ident():  # one inside another counts as one
        return function
    recorder.in_backward = get_ident()
    traffic.part.run(traffic.backward)
    call = Backward(function)
    call.start = perf_counter()
    return call


def _modules(module: types.ModuleType) -> None:
    method = vars(module.Module)["eval"]

    def bind(instance: Any) -> Any:
        steps.recorder.evaluated = weakref.ref(instance)
        return types.MethodType(method, instance)

    put(module.Module, "eval", Probe(method, bind))


def _serialization(module: types.ModuleType) -> None:
    """`torch.save` opens one of two writers, however the program came by the function."""
    for name in ("_open_zipfile_writer_file", "_open_zipfile_writer_buffer"):
        writer = getattr(module, name, None)
        if writer is not None:
            begin, end = vars(writer)["__init__"], vars(writer)["__exit__"]
            put(writer, "__init__", Probe(begin, functools.partial(_opening, begin)))
            put(writer, "__exit__", Probe(end, functools.partial(_closing, end)))


def _opening(method: Any, writer: Any) -> Any:
    vars(writer)["_advisor_start"] = perf_counter()
    return types.MethodType(method, writer)


def _closing(method: Any, writer: Any) -> Any:
    start = vars(writer).get("_advisor_start", perf_counter())
    return timed(types.MethodType(method, writer), lambda: steps.recorder.saved(perf_counter() - start))


def _saving(module: types.ModuleType) -> None:
    for name in SAVES[module.__name__]:
        function = getattr(module, name, None)
        if function is not None and not isinstance(function, Timed):
            put(module, name, Timed(function, _save))


def _save(function: Callable[..., Any]) -> Any:
    """Of calls inside one another only the outermost counts."""
    recorder = steps.recorder
    if not recorder.ends or recorder.thread != get_ident():
        return function
    step = recorder.now()
    step.saving += 1
    return timed(function, functools.partial(_saved, step, perf_counter()))


def _saved(step: Any, start: float) -> None:
    step.saving = max(0, step.saving - 1)
    steps.recorder.saved(perf_counter() - start)


def _tokenizers(module: types.ModuleType) -> None:
    cls = module.PreTrainedTokenizerBase
    for name in TOKENIZER:
        method = vars(cls).get(name)
        if isinstance(method, types.FunctionType):
            put(cls, name, Probe(method, functools.partial(_tokenizing, method)))


def _tokenizing(method: Any, tokenizer: Any) -> Any:
    global _tokenizer_calls  # noqa: PLW0603
    recorder = steps.recorder
    _tokenizer_calls += 1
    if recorder.tokenizes is None and (_tokenizer_calls <= ASKED or _tokenizer_calls % ASKED == 0):
        frame = sys._getframe(2)
        if _in_fetch(frame):
            recorder.tokenizes = str(describe.where(frame))
            fetch.tokenized(recorder.tokenizes)
    return types.MethodType(method, tokenizer)


def _in_fetch(frame: types.FrameType | None) -> bool:
    """Whether a DataLoader is making a sample or a batch at this moment, in this thread."""
    code = sys.modules["torch.utils.data._utils.fetch"].__file__
    for _ in range(200):
        if frame is None:
            break
        if frame.f_code.co_filename == code:
            return True
        frame = frame.f_back
    return False


_PROBES: dict[str, Callable[[types.ModuleType], None]] = {
    "torch.autograd": _autograd,
    "torch.nn.modules.module": _modules,
    "torch.serialization": _serialization,
    "transformers.tokenization_utils_base": _tokenizers,
    **dict.fromkeys(SAVES, _saving),
}
