"""Keeps problems that were solved at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlvr.difficulty.base import Decision
from rlvr.types import GradedGroup, Outcome, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyCorrect:
    """Keeps groups with at least ``least`` right answers, those that are right throughout too: what
    learns from right answers alone (expert iteration, arXiv:2308.01825) has nothing from others."""

    least: int = 1

    def __post_init__(self) -> None:
        if self.least < 1:
            raise ValueError(
                f"least={self.least}: every group has that many right answers; take at least 1, "
                "or rlvr.difficulty.everything.Everything"
            )

    def wants(self, problem: Problem) -> bool:
        return True

    def observe(self, group: GradedGroup) -> Decision:
        right = sum(verdict.outcome is Outcome.CORRECT for verdict in group.verdicts_G)
        return Decision(True, "kept") if right >= self.least else Decision(False, "too_hard")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
