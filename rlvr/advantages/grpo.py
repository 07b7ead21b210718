"""Group-relative advantages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.types import GradedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Grpo:
    """``(r - mean) / (std + eps)`` over the rewards of a problem (arXiv:2402.03300).

    A group whose rewards are all equal, or with a single one, gets zeros: it says nothing about
    which rollout is better.
    """

    std: str = "group"
    """``group`` divides by the group's standard deviation, ``none`` does not."""
    ddof: int = 1
    """1 for the unbiased deviation (verl, TRL), 0 for the population's."""
    eps: float = 1e-6
    """Added to the deviation: 1e-6 in verl, 1e-4 in TRL."""
    min_std: float = 0.0
    """Groups whose deviation is not above it get zeros. The division makes differences of order 1
    of any, however small; shaped rewards have such that mean nothing."""

    def __post_init__(self) -> None:
        if self.std not in ("group", "none"):
            raise ValueError(f"std={self.std!r}: take 'group' or 'none'")
        if self.ddof not in (0, 1):
            raise ValueError(f"ddof={self.ddof}: take 1 (unbiased) or 0 (population)")
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise ValueError(
                f"eps={self.eps}: would turn advantages around or to nothing; take 0 or a small "
                "number such as 1e-6"
            )
        if not (math.isfinite(self.min_std) and self.min_std >= 0):
            raise ValueError(
                f"min_std={self.min_std}: a deviation is never below 0; take 0 or more"
            )
        if self.min_std and self.std == "none":
            raise ValueError(
                f"min_std={self.min_std} with std='none': nothing is divided by a deviation; "
                "take 'group' or leave min_std out"
            )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        rewards_G = group.rewards_G
        if len(rewards_G) < 2 or min(rewards_G) == max(rewards_G):
            return [0.0] * len(rewards_G)
        mean = math.fsum(rewards_G) / len(rewards_G)
        if self.std == "none":
            return [reward - mean for reward in rewards_G]
        squares = math.fsum((reward - mean) ** 2 for reward in rewards_G)
        deviation = math.sqrt(squares / (len(rewards_G) - self.ddof))
        if deviation <= self.min_std:
            return [0.0] * len(rewards_G)
        return [(reward - mean) / (deviation + self.eps) for reward in rewards_G]
