"""Waits for one process to die, then kills those that must not outlive it.

Runs as a script with the standard library alone:

    guard.py PID              kills the process group that PID led
    guard.py PID OTHER ...    kills the other processes
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress


def main(watched: int, others: list[int]) -> None:
    # A descriptor keeps naming the same process, where a pid may be used again.
    doomed = [fd for pid in others if (fd := _open(pid)) is not None]
    descriptor = _open(watched)
    if descriptor is not None:
        # The one wait without a bound: it lasts as long as the process, and holds up nobody.
        select.select([descriptor], [], [])
    with suppress(ProcessLookupError):
        if not others:
            os.killpg(watched, signal.SIGKILL)
    for descriptor in doomed:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)


def _open(pid: int) -> int | None:
    with suppress(ProcessLookupError):
        return os.pidfd_open(pid)
    return None


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(pid) for pid in sys.argv[2:]])
