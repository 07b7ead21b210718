"""What /proc and the kernel tell of a sandbox's processes, and how they are ended."""

from __future__ import annotations

import os
import resource


def kernel() -> tuple[int, int]:
    """The first two numbers of the kernel's version."""
    major, minor, *_ = os.uname().release.split(".")
    return int(major), int(minor.partition("-")[0])


def offer_to_be_killed() -> None:
    """Where memory runs out, what trains is worth more."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
    except OSError:
        return


def tasks_of(user: int) -> int:
    """Processes and threads of a user, which a limit on their number counts too."""
    tasks = 0
    for name in listed("/proc"):
        if name.isdigit():
            try:
                mine = os.stat(f"/proc/{name}").st_uid == user
            except OSError:
                continue
            tasks += len(listed(f"/proc/{name}/task")) if mine else 0
    return tasks


def listed(directory: str) -> list[str]:
    """Names in a directory; none where there is no such directory any more."""
    try:
        return os.listdir(directory)
    except OSError:
        return []


def descendants(root: int) -> list[int]:
    """All that descends from a process and still runs."""
    parents: dict[int, int] = {}
    for name in listed("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except (OSError, ValueError):
                continue
            if state != b"Z":
                parents[int(name)] = int(parent)
    found, last = list[int](), {root}
    while last:
        last = {pid for pid, parent in parents.items() if parent in last}
        found += last
    return found


def send_signal(pid: int, number: int) -> None:
    """Signal a process that may have ended; -1 is all that this one may signal."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def children_seconds() -> float:
    """CPU time of all processes that have been reaped."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def reap(*, blocking: bool) -> None:
    """Take the exit status of every child that ended; if ``blocking``, of every child."""
    try:
        while os.waitpid(-1, 0 if blocking else os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
