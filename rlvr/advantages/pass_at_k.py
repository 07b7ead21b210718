"""Credit for what a rollout adds to the best of k."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.types import GradedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class PassAtK:
    """Group-relative advantages of sets of k rollouts, shared out to their members.

    A set's reward is the largest in it. A rollout gets ``(m_i - mean) / std``, where mean and std
    go over all sets of k in the group, and ``m_i`` is the mean over the sets that contain it. With
    rewards 1 and 0, ``W`` wrong out of G, and ``mean = 1 - C(W, k) / C(G, k)``, this is
    ``(1 - mean) / std`` for a right answer,
    ``(1 - mean - C(W - 1, k - 1) / C(G - 1, k - 1)) / std`` for a wrong one, and
    ``std = sqrt(mean (1 - mean))`` (Pass@k Training, arXiv:2508.10751).

    Zeros where every set has the same reward: there are fewer than k wrong answers, or no right
    one. So too where the group has no more than k graded rollouts; take
    ``rollouts_per_problem`` well above k.
    """

    k: int
    min_std: float = 0.0
    """Groups whose sets deviate no more than this get zeros, as in ``Grpo``."""

    def __post_init__(self) -> None:
        if type(self.k) is not int:
            raise ValueError(f"k={self.k!r}: counts the rollouts of a set; take a whole number")
        if self.k < 2:
            raise ValueError(
                f"k={self.k}: a set needs at least 2 rollouts; for single ones take Grpo(ddof=0)"
            )
        if not (math.isfinite(self.min_std) and self.min_std >= 0):
            raise ValueError(
                f"min_std={self.min_std}: a deviation is never below 0; take 0 or more"
            )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        rewards_G, k = group.rewards_G, self.k
        count = len(rewards_G)
        ordered = sorted(rewards_G)
        if count <= k or ordered[k - 1] == ordered[-1]:
            return [0.0] * count
        # The largest of a set has the other k - 1 below it in the order, ties by position.
        shares = [math.comb(rank, k - 1) / math.comb(count, k) for rank in range(count)]
        mean = math.fsum(share * r for share, r in zip(shares, ordered, strict=True))
        variance = math.fsum(
            share * (r - mean) ** 2 for share, r in zip(shares, ordered, strict=True)
        )
        # The squares of differences below 1e-160 are zero.
        if (std := math.sqrt(variance)) <= self.min_std:
            return [0.0] * count
        # By reward, so that equal rewards get the same number to the last bit.
        credit = {
            reward: (self._mean_best_with(rank, ordered) - mean) / std
            for rank, reward in enumerate(ordered)
        }
        return [credit[reward] for reward in rewards_G]

    def _mean_best_with(self, rank: int, ordered: Sequence[float]) -> float:
        """Mean over the sets that contain ``ordered[rank]`` of their largest reward."""
        is_best = math.comb(rank, self.k - 1) * ordered[rank]
        is_not = (
            math.comb(best - 1, self.k - 2) * ordered[best]
            for best in range(rank + 1, len(ordered))
        )
        return math.fsum((is_best, *is_not)) / math.comb(len(ordered) - 1, self.k - 1)
