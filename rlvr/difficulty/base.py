"""The contract of a difficulty filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from rlvr.types import GradedGroup, Problem


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a group trains, and the name under which that is counted."""

    keep: bool
    reason: str


class DifficultyFilter(Protocol):
    """Spends rollouts and gradient on problems of the right difficulty."""

    def wants(self, problem: Problem) -> bool:
        """Whether the problem is worth rollouts now. Asked before any are paid for."""
        ...

    def observe(self, group: GradedGroup) -> Decision:
        """Learn from a graded group, then say whether it trains. Sees kept and dropped alike."""
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
