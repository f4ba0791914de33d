"""The training hook: loads into the user's Python process and measures its training steps.

This file waits for torch to be imported and does nothing else, so that programs without torch pay nothing.
The other modules load when torch does. None of them imports advisor or anything outside the standard library,
all run on Python 3.8 and later, and every failure ends in `fail`: one note in the output folder, everything
put back, the program goes on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

MODULES = ("torch.utils.data.dataloader", "torch.optim.optimizer")
# What extras.py wants to see; some of these a program never imports.
EXTRAS = (
    "deepspeed.runtime.engine",
    "torch.amp.autocast_mode",
    "torch.distributed._composable.fsdp._fsdp_param_group",
    "torch.distributed.device_mesh",
    "torch.distributed.distributed_c10d",
    "torch.distributed.fsdp._fully_shard._fsdp_param_group",
    "torch.distributed.fsdp.fully_sharded_data_parallel",
    "torch.distributed.optim.zero_redundancy_optimizer",
    "torch.nn.parallel.data_parallel",
    "torch.nn.parallel.distributed",
    "torch.utils.checkpoint",
    "transformers.modeling_utils",
)

_reported = False


def start() -> None:
    """Begin to watch for torch; without an output folder, do nothing."""
    folder = os.environ.get("ADVISOR_HOOK_DIR", "")
    if not os.path.isdir(folder):
        return
    with open(os.path.join(folder, "loaded"), "a", encoding="utf-8"):
        pass  # its being there says that the hook reached a Python process
    sys.meta_path.insert(0, Finder())


def fail(doing: str, error: BaseException) -> None:
    """Note once why the hook gave up, and put everything back."""
    global _reported  # noqa: PLW0603
    if _reported:
        return
    _reported = True
    try:
        path = os.path.join(os.environ["ADVISOR_HOOK_DIR"], "failure-%d.txt" % os.getpid())  # noqa: UP031
        with open(path, "w", encoding="utf-8") as out:
            out.write(f"{doing} failed: {type(error).__name__}: {error}")
    except (OSError, KeyError):
        pass
    patch = sys.modules.get(__name__ + ".patch")
    if patch is not None:
        patch.undo()


def imported(module: ModuleType) -> None:
    """Measure what `module`, just imported by the program, offers."""
    try:
        from . import extras, patch

        extras.imported(module)
        patch.apply(module)
    except Exception as error:
        fail(f"hooking {module.__name__}", error)


def leave() -> None:
    """Watch no more imports: by the second training step a program has what it uses."""
    for finder in [f for f in sys.meta_path if isinstance(f, Finder)]:
        sys.meta_path.remove(finder)


class Finder:
    """Sits first in ``sys.meta_path`` until all modules of interest are imported, at most until training runs."""

    def __init__(self) -> None:
        self.wanted = {*MODULES, *EXTRAS}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec that the other finders give, with a loader that tells `imported` afterwards."""
        if name not in self.wanted:
            return None
        try:
            return self._watch(name, path, target)
        except Exception as error:
            fail(f"watching the import of {name}", error)
            return None  # the other finders are asked again, as if this one were not there

    def _watch(self, name: str, path: Any, target: Any) -> Any:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find and finder is not self else None
            if spec is not None:
                break
        else:
            return None
        loader = spec.loader
        if isinstance(loader, type):
            raise TypeError(f"the loader of {name} is a class and shared")
        loader.exec_module = self._then_tell(name, loader, loader.exec_module)
        return spec

    def _then_tell(self, name: str, loader: Any, execute: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
        def exec_module(module: ModuleType) -> None:
            loader.__dict__.pop("exec_module", None)
            execute(module)
            if module.__name__ == name:  # a loader may serve several modules (zip files)
                self.wanted.discard(name)
                if not self.wanted:
                    leave()
                imported(module)

        return exec_module
