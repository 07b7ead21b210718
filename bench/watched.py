"""Runs a command to its end and notes what can be seen of it from outside."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

POLL_SECONDS = 0.2
MEMORY_EVERY = 2.0
"""Seconds between looks at the memory of all processes of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What was seen of a run from outside."""

    wall_seconds: float
    first_line_seconds: float | None
    """From the start until the watched file had its first line."""
    peak_mb: float
    """Of the whole process tree; a page that several processes share counts once."""
    load_before: float
    """The machine's load average over a minute, before the start."""


def watch(
    command: Sequence[str],
    *,
    cwd: Path,
    log: Path,
    env: Mapping[str, str],
    limit: float,
    first_line: Path,
) -> Process:
    """Run a command to its end, looking at its memory and for the first line of a file.

    Raises:
        RuntimeError: it failed, or ran longer than ``limit`` seconds; names the log.
    """
    load_before = os.getloadavg()[0]
    began = time.monotonic()
    seen: float | None = None
    peak, looked = 0.0, 0.0
    with log.open("w") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=cwd)
        try:
            while child.poll() is None:
                now = time.monotonic() - began
                if now > limit:
                    raise RuntimeError(
                        f"{' '.join(command)} ran for more than {limit:.0f} s; see {log}, or raise "
                        "--limit-seconds"
                    )
                if seen is None and first_line.exists() and first_line.stat().st_size:
                    seen = now
                if now - looked >= MEMORY_EVERY:
                    peak, looked = max(peak, memory_mb(child.pid)), now
                time.sleep(POLL_SECONDS)
        finally:
            end(child)
    if child.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}; {log}:\n{tail}")
    return Process(
        wall_seconds=time.monotonic() - began,
        first_line_seconds=seen,
        peak_mb=peak,
        load_before=load_before,
    )


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that it has started; empty where it has ended."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory_mb(pid: int) -> float:
    """Proportional set sizes of a process tree, summed, in MB."""
    kilobytes = 0
    for process in tree(pid):
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except OSError:
            continue  # ended since it was listed
        kilobytes += sum(int(x.split()[1]) for x in rollup.splitlines() if x.startswith("Pss:"))
    return kilobytes / 1024


def end(child: subprocess.Popen[bytes]) -> None:
    """Stop a command that still runs, with all that it has started."""
    if child.poll() is not None:
        return
    processes = tree(child.pid)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=10)
