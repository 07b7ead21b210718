"""Credit for the best rollout of a group alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.types import GradedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfGroup:
    """What a group's largest reward would lose without the rollout: ``r_max - r_second`` for the
    best one, zero for the others (arXiv:2503.19595).

    Optimizes the best of G samples. Two that share the largest reward make each other superfluous,
    so that with rewards of right and wrong only a group with a single right answer trains;
    ``PassAtK`` with a smaller k trains on more.
    """

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        rewards_G = group.rewards_G
        if len(rewards_G) < 2:
            return [0.0] * len(rewards_G)
        second, best = sorted(rewards_G)[-2:]
        return [best - second if reward == best else 0.0 for reward in rewards_G]
