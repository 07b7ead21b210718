"""The contract of a sink: where metrics go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Sink(Protocol):
    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record one step's metrics. Called once per step, steps rising."""
        ...

    def close(self) -> None: ...
