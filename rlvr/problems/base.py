"""The contract of a problem stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from rlvr.types import Problem


class ProblemStream(Protocol):
    """Endless, in a new order every epoch; its place is saved and restored exactly."""

    def all(self) -> Sequence[Problem]:
        """Every problem once, in the file's order: for checks and for evaluation."""
        ...

    @property
    def epoch(self) -> int:
        """Of the problem that was drawn last, from 0."""
        ...

    def __iter__(self) -> Iterator[Problem]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
