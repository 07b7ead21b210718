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

    def __post_init__(self) -> None:
        if self.std not in ("group", "none"):
            raise ValueError(f"std={self.std!r}: take 'group' or 'none'")
        if self.ddof not in (0, 1):
            raise ValueError(f"ddof={self.ddof}: take 1 (unbiased) or 0 (population)")

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        rewards_G = group.rewards_G
        if len(rewards_G) < 2 or min(rewards_G) == max(rewards_G):
            return [0.0] * len(rewards_G)
        mean = math.fsum(rewards_G) / len(rewards_G)
        if self.std == "none":
            return [reward - mean for reward in rewards_G]
        squares = math.fsum((reward - mean) ** 2 for reward in rewards_G)
        deviation = math.sqrt(squares / (len(rewards_G) - self.ddof))
        return [(reward - mean) / (deviation + self.eps) for reward in rewards_G]
