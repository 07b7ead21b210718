"""Keeps every group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlvr.difficulty.base import Decision
from rlvr.types import GradedGroup, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """No filter. For what learns from a group of equal rewards, too: a critic, a baseline over
    the batch, a KL or an entropy term; and for methods that are to be as they were published.

    Under a group baseline such a group has no policy gradient, and its rollouts are spent on the
    aggregation's denominator alone.
    """

    def wants(self, problem: Problem) -> bool:
        return True

    def observe(self, group: GradedGroup) -> Decision:
        return Decision(True, "kept")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
