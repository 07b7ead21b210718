"""Ends processes together with everything that descends from them, daemons included.

A subreaper is the process to which Linux hands the orphans among its descendants (prctl(2)).
Whatever sessions and groups a descendant opens, it stays below the nearest living subreaper, so
what is killed over and over until nothing is left there cannot have slipped away.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Receive the signal when the thread that began this process ends; 0 for none."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children(pid: int) -> list[int]:
    """Direct children, those that have ended and wait to be reaped included."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def kill_trees(roots: Iterable[int]) -> int:
    """Kill ``roots`` and their descendants of now; how many processes that were.

    A process that was about to fork leaves a child, which the next subreaper above adopts.
    """
    found = list(roots)
    for pid in found:  # grows while it is read
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)  # or it would fork on while its children are read
        found += children(pid)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(found)


def hurry(on: bool) -> None:
    """Run before all ordinary processes, where that is allowed; forks are ordinary again.

    One among thousands that multiply would get too little of the processor to end them.
    """
    policy, priority = (os.SCHED_RR | os.SCHED_RESET_ON_FORK, 1) if on else (os.SCHED_OTHER, 0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, policy, os.sched_param(priority))
