"""A group of probes that only look, and that fail for themselves: a lost part costs its own facts and nothing else.

Like the probes in patch.py these add no Python frame between the program and torch: they act when a method is
looked up and hand back the method itself, or a C callable around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Probe:
    """Stands in for a method; `look` is told the object on every lookup, or None when the class was asked.

    What `look` returns is None, or a callable that makes of the bound method what the program shall call.
    """

    def __init__(self, part: Part, method: Any, look: Callable[[Any], Any]) -> None:
        self.part = part
        self.method = method
        self.look = look

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        plain = self.method.__get__(instance, owner)
        if self.part.lost is not None:
            return plain
        try:
            wrap = self.look(instance)
            return plain if wrap is None else wrap(plain)
        except Exception as error:
            self.part.lose(error)
            return plain


class Part:
    """What one module of the hook has placed; `doing` completes the sentence "... failed"."""

    def __init__(self, doing: str) -> None:
        self.doing = doing
        self.lost: str | None = None
        self.placed: list[tuple[Any, str, Any, Probe]] = []

    def put(self, owner: Any, name: str, look: Callable[[Any], Any]) -> None:
        """Place a probe on ``owner.name``; a torch that has no such method goes without."""
        method = vars(owner).get(name)
        if method is None or isinstance(method, Probe) or not hasattr(method, "__get__"):
            return
        probe = Probe(self, method, look)
        setattr(owner, name, probe)
        self.placed.append((owner, name, method, probe))

    def take(self, *owners: Any) -> None:
        """Take the probes out of `owners`, all without; what the program has put over one stays."""
        kept = []
        for entry in self.placed:
            owner, name, method, probe = entry
            if owners and owner not in owners:
                kept.append(entry)
            elif vars(owner).get(name) is probe:
                setattr(owner, name, method)
        self.placed = kept

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)``; None when the part is lost, before or by this."""
        if self.lost is not None:
            return None
        try:
            return function(*args)
        except Exception as error:
            self.lose(error)
            return None

    def lose(self, error: BaseException) -> None:
        """Give this part up: note why, and put back what it placed."""
        if self.lost is None:
            self.lost = f"{self.doing} failed: {type(error).__name__}: {error}"[:300]
        try:
            self.take()
        except Exception as second:  # a probe that cannot be taken out looks no more
            self.lost += f"; {type(second).__name__}: {second}"[:100]
