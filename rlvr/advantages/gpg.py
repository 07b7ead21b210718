"""Centred rewards that make up for the rollouts without a reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.advantages.grpo import Grpo
from rlvr.types import GradedGroup

_CENTRED = Grpo(std="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpg:
    """``alpha (r - mean) / f_norm`` over the rewards of a problem, with ``alpha`` the rollouts of
    the batch over those of them whose reward is not 0: GPG (arXiv:2504.02546).

    The paper's alpha makes up for the groups that yield no gradient; this is what verl computes,
    for rewards of 1 and 0, where it also grows with the share of wrong answers. With rewards of 1
    and -1 alpha is 1. A group with a single reward gets zero. Goes with the loss ``-A logprob``.
    """

    f_norm: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.f_norm) and self.f_norm > 0):
            raise ValueError(
                f"f_norm={self.f_norm}: divides every advantage; take a finite number above 0"
            )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return self.over_batch((group,))[0]

    def over_batch(self, groups_P: Sequence[GradedGroup]) -> Sequence[Sequence[float]]:
        rewards = [reward for group in groups_P for reward in group.rewards_G]
        alpha = len(rewards) / max(1, sum(reward != 0 for reward in rewards))
        return [[alpha * a / self.f_norm for a in _CENTRED(group)] for group in groups_P]
