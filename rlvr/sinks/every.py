"""Many sinks as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from rlvr.sinks.base import Sink


class Every:
    """Hands everything on to each of its sinks, in their order."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for sink in self._sinks:
            sink.log(step, metrics)

    def progress(self, phase: str, done: int, total: int) -> None:
        """How far start-up or an evaluation is, for the sinks that show it."""
        self._where_there_is("progress", phase, done, total)

    def resume(self, step: int) -> None:
        """Steps from ``step`` on come again: what was logged of them is void."""
        self._where_there_is("resume", step)

    def close(self) -> None:
        """Close all of them, also where one fails at it."""
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.close)

    def _where_there_is(self, method: str, *args: Any) -> None:
        for sink in self._sinks:
            if (function := getattr(sink, method, None)) is not None:
                function(*args)
