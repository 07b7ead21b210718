"""How much memory a run takes, over all of its processes."""

from __future__ import annotations

import contextlib
import threading
from typing import Self

import psutil

MIB = 2**20


class PeakMemory:
    """Samples the resident size of this process and all that descend from it.

    Pages that processes share count once for each of them, so the figure is an upper bound.
    """

    def __init__(self, *, every: float = 1.0) -> None:
        """``every`` so many seconds."""
        self._every = every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)
        self.peak_mb = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=10 * self._every)

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._ended.wait(self._every):
            total = 0
            family = [me]
            with contextlib.suppress(psutil.Error):  # one of them ended just now
                family += me.children(recursive=True)
            for process in family:
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
            self.peak_mb = max(self.peak_mb, total / MIB)
