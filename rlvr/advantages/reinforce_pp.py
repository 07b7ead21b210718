"""REINFORCE whose advantages are whitened over all tokens of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlvr.advantages.base import Episode, TokenCredit
from rlvr.advantages.grpo import Grpo
from rlvr.advantages.whitening import whitened, whitened_array
from rlvr.ragged import Floats, Ints, cut, joined, to_go
from rlvr.types import GradedGroup

_CENTRED = Grpo(std="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforcePp:
    """The reward from each token on, whitened over all completion tokens of the batch:
    REINFORCE++ (arXiv:2501.03262).

    ``G_t = r_t + gamma G_{t+1}`` and ``A = (G - mean) / sqrt(var + 1e-8)``. The token rewards
    contain the KL penalty (``RewardKl``, k1 in the paper). Mean and variance count tokens, so long
    completions decide them. It compares problems with each other: on a batch of hard ones the
    advantage of a wrong answer is near zero.
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise ValueError(
                f"gamma={self.gamma}: a discount is between 0 and 1; take 1, which every recipe "
                "with a single reward at the end does"
            )

    @property
    def needs_values(self) -> bool:
        return False

    def over_tokens(self, episodes: Sequence[Episode]) -> Sequence[TokenCredit]:
        rewards_N, lengths_R = joined([episode.rewards_T for episode in episodes])
        advantages_N = whitened_array(_to_go(rewards_N, lengths_R, self.gamma))
        return [TokenCredit(advantages_T=row) for row in cut(advantages_N, lengths_R)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforcePpBaseline:
    """``r - mean`` over the rewards of a problem, whitened over all completion tokens of the batch:
    REINFORCE++-baseline (arXiv:2501.03262).

    ``A = (x - mean) / sqrt(var + 1e-8)`` with ``x = r - group mean``, in which every rollout counts
    as often as it has tokens. So a group of equal rewards, or of one, still gets minus the batch's
    mean, which is 0 only where lengths and rewards are unrelated. The paper has its KL penalty in
    the loss (k2).
    """

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return self.over_batch((group,))[0]

    def over_batch(self, groups_P: Sequence[GradedGroup]) -> Sequence[Sequence[float]]:
        lengths = [[len(r.completion_ids_T) for r in group.rollouts_G] for group in groups_P]
        return whitened([_CENTRED(group) for group in groups_P], lengths)


def rewards_to_go(rewards_T: Sequence[float], *, gamma: float) -> list[float]:
    """``G_t = r_t + gamma G_{t+1}`` of each token, as many as rewards."""
    rewards_N, lengths_R = joined([rewards_T])
    return _to_go(rewards_N, lengths_R, gamma).tolist()


def _to_go(rewards_N: Floats, lengths_R: Ints, gamma: float) -> Floats:
    return to_go(rewards_N, lengths_R, np.full(len(lengths_R), gamma))
