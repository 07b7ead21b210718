"""Limits that all processes of a machine share, kept in a directory on a local disk."""

from __future__ import annotations

import fcntl
import os
import random
import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

_PAUSE = 0.02


class QuotaError(RuntimeError):
    """No place came free within the time that there was."""


@contextmanager
def slot(directory: Path, slots: int, *, deadline: float) -> Generator[None]:
    """One of ``slots`` places, held during the block; the kernel frees that of a dead process.

    Raises:
        QuotaError: none came free by ``deadline`` (monotonic seconds).
    """
    directory.mkdir(parents=True, exist_ok=True)
    while True:
        for number in random.sample(range(slots), slots):
            descriptor = os.open(directory / f"slot{number}", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            try:
                yield
            finally:
                os.close(descriptor)
            return
        if time.monotonic() + _PAUSE > deadline:
            raise QuotaError(
                f"none of {slots} places in {directory} came free in time; allow more at once or "
                "give more seconds"
            )
        time.sleep(_PAUSE * (0.5 + random.random()))


def take_token(path: Path, *, per_minute: float, burst: float, deadline: float) -> None:
    """Take a token from a bucket of ``burst`` that ``per_minute`` flow into; wait for one.

    Raises:
        QuotaError: none comes by ``deadline`` (monotonic seconds).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        wait = _missing(path, per_minute / 60, burst, deadline)
        if wait <= 0:
            return
        if time.monotonic() + wait > deadline:
            raise QuotaError(
                f"the next request is allowed in {wait:.1f} s, past the deadline; raise "
                f"per_minute={per_minute:g} or give more seconds"
            )
        time.sleep(wait)


def _missing(path: Path, per_second: float, burst: float, deadline: float) -> float:
    """Seconds until there is a token; it is taken where that is 0."""
    patience = max(deadline - time.monotonic(), 0.1)
    with closing(sqlite3.connect(path, timeout=patience, isolation_level=None)) as file:
        file.execute("CREATE TABLE IF NOT EXISTS bucket (tokens REAL, at REAL)")
        file.execute("BEGIN IMMEDIATE")
        now = time.time()
        tokens, at = file.execute("SELECT tokens, at FROM bucket").fetchone() or (burst, now)
        tokens = min(burst, tokens + max(now - at, 0.0) * per_second)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / per_second
        file.execute("DELETE FROM bucket")
        held = tokens - 1 if wait == 0 else tokens
        file.execute("INSERT INTO bucket VALUES (?, ?)", (held, now))
        file.execute("COMMIT")
    return wait
