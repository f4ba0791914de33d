"""What all tests share: the signals of a shell that starts them in the background are put right."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Programs that tests start inherit ignored signals, and those must reach them (`nohup`, a job in a script)."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
