"""What SIGINT and SIGTERM mean to a run."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Generator[asyncio.Event]:
    """Gives an event that the first SIGINT or SIGTERM sets, so that the run may save and end.

    The second cancels the task that entered, which still cleans up; the third has the signal's
    usual effect and ends the process at once. Enter it in a task of the main thread's loop.

    Workers need nothing of the kind: Ray blocks SIGINT in all that it starts.
    """
    requested = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def interrupt() -> None:
        if not requested.is_set():
            requested.set()
            return
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        if task is not None:
            task.cancel("interrupted twice")

    for number in SIGNALS:
        loop.add_signal_handler(number, interrupt)
    try:
        yield requested
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
