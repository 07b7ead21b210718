"""Rewards against their mean over tokens instead of rollouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.types import GradedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Opo:
    """``r_i - sum(L r) / sum(L)``, where L counts a rollout's completion tokens (arXiv:2505.23585).

    The baseline of least gradient variance, where the squared gradient norm of a rollout grows
    with its length. Advantages weighted by length add up to zero; where all lengths are equal
    they are those of ``DrGrpo``. Derived for on-policy samples and an aggregation that sums the
    tokens of a rollout (``token-mean``, ``seq-mean-token-sum``).
    """

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        rewards_G = group.rewards_G
        if len(rewards_G) < 2 or min(rewards_G) == max(rewards_G):
            return [0.0] * len(rewards_G)
        lengths_G = [len(rollout.completion_ids_T) for rollout in group.rollouts_G]
        weighed = math.fsum(
            length * reward for length, reward in zip(lengths_G, rewards_G, strict=True)
        )
        baseline = weighed / sum(lengths_G)
        return [reward - baseline for reward in rewards_G]
