"""Rewards against a baseline that does not look at the group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlvr.types import GradedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Reinforce:
    """``r - baseline`` (Williams, 1992, "Simple statistical gradient-following algorithms").

    Like its two siblings below, and unlike what compares the rollouts of a group, it trains on a
    group of equal rewards, where its filter lets one through, and on a single rollout. On samples
    of the current weights the baseline changes the variance alone; on older ones it also decides
    how much wrong answers weigh against right ones (arXiv:2503.14286).
    """

    baseline: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.baseline):
            raise ValueError(
                f"baseline={self.baseline}: would make every advantage infinite or NaN; "
                "take a number between the rewards of a wrong and a right answer"
            )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return [reward - self.baseline for reward in group.rewards_G]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforceBatchMean:
    """``r - mean`` over the rewards of all rollouts of the batch, whatever their problem.

    A rollout's own reward is in its baseline, which shrinks the gradient by ``1 / rollouts``.
    """

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return self.over_batch((group,))[0]

    def over_batch(self, groups_P: Sequence[GradedGroup]) -> Sequence[Sequence[float]]:
        mean = batch_mean(groups_P)
        return [[reward - mean for reward in group.rewards_G] for group in groups_P]


@dataclass(slots=True, kw_only=True)
class ReinforceRunningMean:
    """``r - b``, where ``b`` is a mean over the mean rewards of earlier batches: Williams'
    reinforcement comparison.

    ``b = decay * b + (1 - decay) * batch mean`` after every batch, or the mean of all batches so
    far where ``decay`` is None. The batch that it is taken from is not in it, so the gradient is
    unbiased; the first batch, which has none before it, is held against its own mean. Each call is
    a batch.
    """

    decay: float | None = 0.9
    mean: float = field(default=0.0, init=False)
    """Of the batches seen."""
    batches: int = field(default=0, init=False)
    """How many were seen."""

    def __post_init__(self) -> None:
        if self.decay is not None and not 0 <= self.decay < 1:
            raise ValueError(
                f"decay={self.decay}: is the share of the past in the mean; take a number from 0 "
                "up to but not 1, or null for the mean of all batches"
            )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return self.over_batch((group,))[0]

    def over_batch(self, groups_P: Sequence[GradedGroup]) -> Sequence[Sequence[float]]:
        if not any(group.rewards_G for group in groups_P):
            return [[] for _ in groups_P]
        now = batch_mean(groups_P)
        baseline = self.mean if self.batches else now
        self.batches += 1
        past = 1 - 1 / self.batches if self.decay is None else self.decay
        self.mean = past * baseline + (1 - past) * now
        return [[reward - baseline for reward in group.rewards_G] for group in groups_P]

    def state_dict(self) -> dict[str, float]:
        return {"mean": self.mean, "batches": self.batches}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.mean, self.batches = state["mean"], int(state["batches"])


def effective_positive_fraction(p: float, baseline: float) -> float:
    """Share of the weight of a batch that its right answers have under rewards of 1 and -1, p of
    the first, less a baseline: ``p (1 - c) / (1 + c (1 - 2 p))`` (TOPR, arXiv:2503.14286).

    The paper finds 0.1 to 0.2 best. A baseline of -1 trains on right answers alone, one of 1 on
    wrong ones.

    Raises:
        ValueError: p is no share, the baseline turns rewards around, or no answer has any weight.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p={p}: it is a share of answers; take a number from 0 to 1")
    if not -1 <= baseline <= 1:
        raise ValueError(
            f"baseline={baseline}: beyond rewards of 1 and -1 all answers would be pushed the same "
            "way; take a number from -1 to 1"
        )
    weight = 1 + baseline * (1 - 2 * p)
    if not weight:
        raise ValueError(
            f"baseline={baseline} with p={p}: every answer has the baseline for its reward, so "
            "none has any weight; take another baseline"
        )
    return p * (1 - baseline) / weight


def batch_mean(groups_P: Sequence[GradedGroup]) -> float:
    """Mean reward over all rollouts; 0 where there are none."""
    rewards = [reward for group in groups_P for reward in group.rewards_G]
    return math.fsum(rewards) / len(rewards) if rewards else 0.0
