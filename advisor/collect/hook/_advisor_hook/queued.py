"""How long a thread has waited for a CPU although it could have run: on a busy machine that is no waiting for data."""

from __future__ import annotations

import os


def run_delay() -> float:
    """Seconds that the calling thread has waited so since it began; 0 where the kernel does not say.

    The second number of ``schedstat`` (Documentation/scheduler/sched-stats.rst), nanoseconds. The file is opened
    each time: programs close descriptors that they do not know, and others get the number.
    """
    try:
        file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0.0
    try:
        return int(os.read(file, 64).split()[1]) / 1e9
    finally:
        os.close(file)
