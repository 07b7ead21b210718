"""Credit for the best rollout of a group alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.advantages.grpo import check_division, deviation
from rlvr.types import GradedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfGroup:
    """What a group's largest reward would lose without the rollout: ``r_max - r_second`` for the
    best one, zero for the others (arXiv:2503.19595).

    Optimizes the best of G samples. Two that share the largest reward make each other superfluous,
    so that with rewards of right and wrong only a group with a single right answer trains;
    ``PassAtK`` with a smaller k trains on more.
    """

    std: str = "none"
    """``group`` divides by the group's standard deviation plus ``eps``, as verl does unless told
    otherwise; ``none`` is the paper's."""
    ddof: int = 1
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.std not in ("none", "group"):
            raise ValueError(f"std={self.std!r}: take 'none' or 'group'")
        check_division(ddof=self.ddof, eps=self.eps)

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        rewards_G = group.rewards_G
        if len(rewards_G) < 2:
            return [0.0] * len(rewards_G)
        second, best = sorted(rewards_G)[-2:]
        lead = best - second
        if self.std == "group":
            spread = deviation(rewards_G, ddof=self.ddof)
            # It is 0 for equal rewards, and for differences that are lost in their squares.
            lead = lead / (spread + self.eps) if spread else 0.0
        return [lead if reward == best else 0.0 for reward in rewards_G]
