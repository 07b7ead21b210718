"""Rewards on another scale, such as -1 and 1 in place of 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from rlvr.types import GradedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """``wrong + (right - wrong) * reward``: 0 becomes ``wrong``, 1 becomes ``right``, and what lies
    between or beyond stays in proportion.

    What centres rewards on their group does not tell the difference, up to a factor. TOPR
    (arXiv:2503.14286), PPO with a critic (VC-PPO, arXiv:2503.01491) and PSHW (arXiv:2506.18330) are
    written for -1 and 1. It comes before shapings whose penalties are on the new scale.
    """

    wrong: float = -1.0
    right: float = 1.0

    def __post_init__(self) -> None:
        if not (isfinite(self.wrong) and isfinite(self.right) and self.wrong < self.right):
            raise ValueError(
                f"wrong={self.wrong}, right={self.right}: a right answer earns more than a wrong "
                "one; take finite numbers with wrong < right, such as -1 and 1"
            )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return [self.wrong + (self.right - self.wrong) * reward for reward in group.rewards_G]
