"""Processes as the operating system sees them: their stacks, their families, their end.

Workers register themselves once; everything else is done from outside by process id, on the same
machine, and so works on a process that hangs, holds the GIL or has been stopped.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

DUMP_SIGNAL = signal.SIGUSR1
POLL_SECONDS = 0.05

ProcessId = tuple[int, float]
"""A pid and the time that its process was created (s): the pair is never reused."""


def answer_dumps(path: Path) -> IO[bytes]:
    """Write the stacks of all threads of this process to ``path`` at each ``DUMP_SIGNAL``.

    The C handler needs neither the GIL nor an event loop. Keep the returned file open.
    """
    file = path.open("wb", buffering=0)
    faulthandler.register(DUMP_SIGNAL, file=file, all_threads=True, chain=False)
    return file


def guard_group() -> None:
    """Make this process lead its process group, and have the group killed when it dies.

    Without it, children outlive a worker that is killed: a SIGKILL runs no clean-up.
    """
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    _start_guard(())


def guard(others: Iterable[int]) -> subprocess.Popen[bytes]:
    """Have the other processes killed when this one dies, however it does; returns the guard."""
    return _start_guard(others)


def _start_guard(others: Iterable[int]) -> subprocess.Popen[bytes]:
    script = str(Path(__file__).with_name("guard.py"))
    # Isolated and without site-packages: it starts in tens of milliseconds and stays small.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", script, str(os.getpid()), *map(str, others)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def stacks_of(pid: int, path: Path, seconds: float) -> str:
    """The stacks that ``pid`` writes to ``path`` when asked, or the reason why there are none.

    ``seconds`` bounds the wait. Only a process that called ``answer_dumps`` is ever signalled,
    since the signal ends any other.
    """
    state = _state(pid)
    if state is None:
        return "no answer: the process is gone"
    if not _catches(pid, DUMP_SIGNAL):
        return f"no answer: pid {pid} has not registered for stack dumps ({state})"
    start = path.stat().st_size if path.exists() else 0
    os.kill(pid, DUMP_SIGNAL)
    deadline = time.monotonic() + seconds
    size = start
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        now = path.stat().st_size if path.exists() else 0
        if now == size > start:
            return path.read_bytes()[start:].decode(errors="replace")
        size = now
    return f"no answer within {seconds:g} s: the process is {_state(pid) or 'gone'}"


def family(pids: Iterable[int]) -> list[ProcessId]:
    """The processes and all their descendants, as far as they are alive."""
    found: set[ProcessId] = set()
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for member in (process, *process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    found.add((member.pid, member.create_time()))
    return list(found)


def end(members: Sequence[ProcessId], *, patience: float, seconds: float) -> list[int]:
    """Wait for the processes to go, then kill those that stay; returns what outlives that too.

    Args:
        patience: seconds before the kill, for processes that were told to go already.
        seconds: after it.
    """
    alive: list[psutil.Process] = []
    for pid, created in members:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() == created:
                alive.append(process)
    alive = _wait(alive, patience)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return [process.pid for process in _wait(alive, seconds)]


def tail(path: Path, lines: int) -> str:
    """The last lines of a log file, or the reason why they can't be shown."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 400 * lines))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"({error.strerror} on this node)"
    return "\n".join(text.splitlines()[-lines:]) or "(empty)"


def oom_kills() -> int:
    """Processes that this machine's kernel has killed for lack of memory since it started."""
    try:
        counters = Path("/proc/vmstat").read_text()
    except OSError:
        return 0
    found = re.search(r"^oom_kill (\d+)$", counters, re.MULTILINE)
    return int(found.group(1)) if found else 0


def _wait(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run after that time, or as soon as none does."""
    deadline = time.monotonic() + seconds
    while (alive := [p for p in processes if _runs(p)]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return alive


def _runs(process: psutil.Process) -> bool:
    """A zombie does not: it holds nothing, and its parent alone can take it away."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _state(pid: int) -> str | None:
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return None


def _catches(pid: int, number: signal.Signals) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return caught is not None and bool(int(caught.group(1), 16) >> (number - 1) & 1)
