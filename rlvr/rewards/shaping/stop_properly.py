"""Answers that the token limit cut off earn less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.types import Finish, GradedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class StopProperly:
    """The reward of a rollout that ran into the limit, times ``coefficient`` where that is 0 or
    more, and else ``coefficient`` itself (ProRL, arXiv:2505.24864).

    A product never raises a reward: a negative one stays, or not to stop would be a way out.
    """

    coefficient: float

    def __post_init__(self) -> None:
        if not float("-inf") < self.coefficient < 1.0:
            raise ValueError(
                f"coefficient={self.coefficient}: a share from 0 to below 1 of what was earned, "
                "or a negative reward in its place"
            )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return [
            self._cut(reward) if rollout.finish is Finish.LENGTH else reward
            for reward, rollout in zip(group.rewards_G, group.rollouts_G, strict=True)
        ]

    def _cut(self, reward: float) -> float:
        if self.coefficient < 0:
            return self.coefficient
        return min(reward, reward * self.coefficient)
