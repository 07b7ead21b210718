"""Rewards against a constant, without a look at the group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.types import GradedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Reinforce:
    """``r - baseline`` (Williams, 1992, "Simple statistical gradient-following algorithms").

    The only estimator here that trains on a group of equal rewards, where its filter lets one
    through, and on a single rollout. On samples of the current weights the baseline changes the
    variance alone; on older ones it also decides how much wrong answers weigh against right ones
    (arXiv:2503.14286).
    """

    baseline: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.baseline):
            raise ValueError(
                f"baseline={self.baseline}: would make every advantage infinite or NaN; "
                "take a number between the rewards of a wrong and a right answer"
            )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return [reward - self.baseline for reward in group.rewards_G]
