"""Processes that the kernel killed because memory ran out: of the whole machine, or of one control group.

One kill prints up to four lines (oom-kill:constraint, Kill process, Killed process, reaped), and
which of them there are depends on the version; a victim is counted once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from advisor.readers.log.kernel_events import OOM, OOM_CONSTRAINT, RSS
from advisor.readers.rows import Row, row

GROUP = "CONSTRAINT_MEMCG"


@dataclass
class Kill:
    """One victim."""

    pid: str
    name: str
    group: bool
    where: str
    lines: set[str]
    resident: int = 0  # bytes


@dataclass
class Kills:
    """The victims of a log, in order."""

    victims: list[Kill] = field(default_factory=list)

    def take(self, line: str, where: str) -> None:
        """One line."""
        if told := OOM_CONSTRAINT.search(line):
            self._add(Kill(told["pid"], told["name"], told["kind"] == GROUP, where, {"constraint"}))
        elif killed := OOM.search(line):
            # "Kill process" is the announcement of old kernels; a second line then says "Killed process".
            kind = "Killed" if "Killed process" in killed.group() else "Kill"
            if not killed["first"] and not self._open(killed["pid"], kind):
                return  # a process that was killed for another reason
            kill = Kill(killed["pid"], killed["name"], bool(killed["group"]), where, {kind})
            kill.resident = sum(int(kib) for kib in RSS.findall(line)) * 1024
            self._add(kill)

    def _open(self, pid: str, kind: str) -> Kill | None:
        """The last victim, when it is this one and has no line of this kind yet."""
        last = self.victims[-1] if self.victims else None
        return last if last and last.pid == pid and kind not in last.lines else None

    def _add(self, kill: Kill) -> None:
        (kind,) = kill.lines
        same = self._open(kill.pid, kind)
        if same is None:
            self.victims.append(kill)
            return
        same.lines.add(kind)
        same.group |= kill.group
        same.resident = max(same.resident, kill.resident)

    def rows(self, whole: bool) -> Iterator[Row]:
        """Kills for want of memory of the host, and of a control group."""
        for fact, group in (("system.kernel.oom_kills.host", False), ("system.kernel.oom_kills.cgroup", True)):
            of = [kill for kill in self.victims if kill.group is group]
            if of or whole:
                yield row(fact, len(of), "{kill}", of[-1].where if of else None)

    def told(self) -> list[str]:
        """The victims in words, the last first."""
        return [
            f"killed for want of memory{' in its control group' if k.group else ''}: {k.name} (pid {k.pid}"
            + (f", {k.resident / 2**30:.1f} GiB resident)" if k.resident else ")")
            for k in reversed(self.victims)
        ]
