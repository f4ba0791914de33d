"""How a call is timed without a Python frame of ours between the program and torch.

Python looks a method up before it calls it, and a descriptor may act in that moment and hand back a C-level callable.
Tracebacks and the places that warnings point to therefore stay exactly as they are without the hook. Plain functions
in a module get the same through an object whose ``__call__`` is such a descriptor.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from . import fail

_undo: list[tuple[Any, str, Any]] = []
_ABSENT = object()


class Probe:
    """Stands in for a method: looked up on an object it calls `bind(object)`, on the class it is the method."""

    def __init__(self, method: Callable[..., Any], bind: Callable[[Any], Any]) -> None:
        self.method = method
        self.bind = bind

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self.method
        try:
            return self.bind(instance)
        except Exception as error:
            fail(f"measuring {getattr(self.method, '__qualname__', self.method)}", error)
            return types.MethodType(self.method, instance)


class Call(functools.partial):  # type: ignore[type-arg]
    """One call: dies right after it, on success or not, and then says so to `done`."""

    done: Callable[[], None]

    def __del__(self) -> None:
        """The call is over."""
        try:
            self.done()
        except Exception as error:
            fail("measuring a call", error)


def timed(function: Callable[..., Any], done: Callable[[], None]) -> Call:
    """`function` for one call, after which `done` is called."""
    call = Call(function)
    call.done = done
    return call


class Timed:
    """Stands in for a function of a module or an object: `bind(function)` gives what is called instead, each time.

    Everything else (name, signature, source, pickling) is the function's own.
    """

    def __init__(self, function: Callable[..., Any], bind: Callable[[Callable[..., Any]], Any]) -> None:
        functools.update_wrapper(self, function)  # type: ignore[arg-type]
        self._function, self._bind = function, bind

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_function"], name)

    def __reduce__(self) -> str:
        return str(self._function.__qualname__)


class _OnCall:
    """What Python finds when it looks up ``__call__``: `Probe` once more, for the function in a `Timed`."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        try:
            return instance._bind(instance._function)  # noqa: SLF001
        except Exception as error:
            fail("measuring a function", error)
            return instance._function  # noqa: SLF001


setattr(Timed, "__call__", _OnCall())  # noqa: B010 - not a method


def then(method: Callable[..., Any], instance: Any, after: Callable[[Any], Any]) -> Any:
    """A callable that returns ``after(method(instance))``, run by C code; `after` is skipped when `method` raises."""
    return map(after, map(method, (instance,))).__next__


def put(owner: Any, name: str, value: Any) -> None:
    """Replace an attribute until `take_out`."""
    _undo.append((owner, name, vars(owner).get(name, _ABSENT)))
    setattr(owner, name, value)


def take_out() -> None:
    """Put every attribute back that `put` replaced."""
    while _undo:
        owner, name, was = _undo.pop()
        if was is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, was)
