"""Credit for the progress that thinking makes, told by answers that it is cut short for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from rlvr.advantages.base import (
    Advantage,
    BatchAdvantage,
    PairSelection,
    Stateful,
    TokenAdvantage,
)
from rlvr.advantages.grpo import Grpo
from rlvr.types import GradedGroup, PrefixValues


@dataclass(frozen=True, slots=True, kw_only=True)
class Mrt:
    """``r - J_0``, where ``J_0`` is the mean reward of answering at once, without what the rollout
    thinks: the released recipe of MRT (arXiv:2503.07572).

    The baseline takes the place of the group's mean. A right answer gets most where answering at
    once mostly fails, a wrong one loses most where it would do. A rollout without prefix values
    gets zero.
    """

    @property
    def needs_prefix_values(self) -> bool:
        return True

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return [
            reward - values[0][1] if values else 0.0
            for reward, values in zip(group.rewards_G, prefix_values_of(group), strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class MrtProgress:
    """``estimator`` on ``r + alpha sum_j (J_j - J_{j-1})`` in place of the reward: MRT's progress
    bonus (arXiv:2503.07572).

    ``J_j`` is the mean reward of answering after the first j episodes of a rollout, so the sum is
    what all its thinking adds. ``estimator`` compares the totals of a group or of the batch, by
    default as ``Grpo`` does; ``Reinforce`` takes them as they are. A rollout without prefix values
    is left out and gets zero.
    """

    alpha: float
    """Weight of the progress, in 0.1 to 1; the paper gives none."""
    estimator: Advantage = field(default_factory=Grpo)

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < float("inf"):
            raise ValueError(
                f"alpha={self.alpha}: a negative weight would punish progress; take a finite "
                "number of at least 0, such as 0.2"
            )
        if isinstance(self.estimator, TokenAdvantage | PairSelection):
            raise ValueError(
                f"estimator={type(self.estimator).__name__}: it gives no credit to a rollout's "
                "total; take one over groups or batches, such as rlvr.advantages.grpo.Grpo"
            )

    @property
    def needs_prefix_values(self) -> bool:
        return True

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return self.over_batch((group,))[0]

    def over_batch(self, groups_P: Sequence[GradedGroup]) -> Sequence[Sequence[float]]:
        totals_P = [self._totals(group) for group in groups_P]
        if isinstance(self.estimator, BatchAdvantage):
            credit_PG = self.estimator.over_batch(totals_P)
        else:
            credit_PG = [self.estimator(totals) for totals in totals_P]
        return [
            _among_all(group, credit_G) for group, credit_G in zip(groups_P, credit_PG, strict=True)
        ]

    def state_dict(self) -> dict[str, float]:
        """Of ``estimator``, if it remembers."""
        return self.estimator.state_dict() if isinstance(self.estimator, Stateful) else {}

    def load_state_dict(self, state: dict[str, float]) -> None:
        if isinstance(self.estimator, Stateful):
            self.estimator.load_state_dict(state)

    def _totals(self, group: GradedGroup) -> GradedGroup:
        """The rollouts with prefix values, progress added to their rewards."""
        values_G = prefix_values_of(group)
        known = [index for index, values in enumerate(values_G) if values]
        return replace(
            group,
            rollouts_G=tuple(group.rollouts_G[i] for i in known),
            verdicts_G=tuple(
                replace(
                    group.verdicts_G[i],
                    reward=group.rewards_G[i] + self.alpha * sum(progress(values_G[i])),
                )
                for i in known
            ),
            prefix_values_G=tuple(values_G[i] for i in known),
        )


def _among_all(group: GradedGroup, credit_G: Sequence[float]) -> list[float]:
    """Zero for each rollout without prefix values, which ``credit_G`` leaves out."""
    values_G = prefix_values_of(group)
    known = [index for index, values in enumerate(values_G) if values]
    credit = dict(zip(known, credit_G, strict=True))
    return [credit.get(index, 0.0) for index in range(len(values_G))]


def progress(prefix_values: PrefixValues) -> list[float]:
    """``J_j - J_{j-1}`` of each episode, one fewer than there are prefixes."""
    return [after - before for (_, before), (_, after) in pairwise(prefix_values)]


def prefix_values_of(group: GradedGroup) -> Sequence[PrefixValues]:
    """Those of each rollout; empty ones for a group of which no prefix was continued.

    Raises:
        ValueError: there are some, but not as many as rollouts.
    """
    if not group.prefix_values_G:
        return [()] * len(group.rewards_G)
    if len(group.prefix_values_G) != len(group.rewards_G):
        raise ValueError(
            f"prefix_values_G of {group.problem.id}: {len(group.prefix_values_G)} for "
            f"{len(group.rewards_G)} rollouts; take one for each, empty where there are none"
        )
    return group.prefix_values_G
