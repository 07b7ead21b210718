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
    which rollout is better. Under the mean of the batch it is held against the other groups, and
    only a batch of equal rewards gets zeros.
    """

    mean: str = "group"
    """``group``, or ``batch`` for that of all rewards of the batch, each rollout counting once (one
    of AReaL's normalisations, arXiv:2505.24298; compared in Lite PPO, arXiv:2508.08221)."""
    std: str = "group"
    """``group`` divides by the group's standard deviation, ``batch`` by that of all rewards of the
    batch (Lite PPO, arXiv:2508.08221; TRL's ``scale_rewards="batch"``), ``none`` does not."""
    ddof: int = 1
    """1 for the unbiased deviation (verl, TRL), 0 for the population's."""
    eps: float = 1e-6
    """Added to the deviation: 1e-6 in verl, 1e-4 in TRL."""
    min_std: float = 0.0
    """Groups (or batches) whose deviation is not above it get zeros. The division makes differences
    of order 1 of any, however small; shaped rewards have such that mean nothing."""

    def __post_init__(self) -> None:
        if self.std not in ("group", "batch", "none"):
            raise ValueError(f"std={self.std!r}: take 'group', 'batch' or 'none'")
        check_division(ddof=self.ddof, eps=self.eps)
        if self.mean not in ("group", "batch"):
            raise ValueError(f"mean={self.mean!r}: take 'group' or 'batch'")
        if self.mean == "batch" and self.std == "group":
            raise ValueError(
                "mean='batch' with std='group': a group of equal rewards is off the batch's mean "
                "and has no deviation to divide that by; take std='batch' or 'none', or "
                "mean='group'"
            )
        if not (math.isfinite(self.min_std) and self.min_std >= 0):
            raise ValueError(
                f"min_std={self.min_std}: a deviation is never below 0; take 0 or more"
            )
        if self.min_std and self.std == "none":
            raise ValueError(
                f"min_std={self.min_std} with std='none': nothing is divided by a deviation; "
                "take 'group' or 'batch', or leave min_std out"
            )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return self.normalised(group.rewards_G)

    def over_batch(self, groups_P: Sequence[GradedGroup]) -> Sequence[Sequence[float]]:
        """Each group on its own, but for what is ``batch``."""
        rewards = [reward for group in groups_P for reward in group.rewards_G]
        if self.mean == "batch":
            normalised = iter(self.normalised(rewards))
            return [[next(normalised) for _ in group.rewards_G] for group in groups_P]
        if self.std == "batch":
            spread = deviation(rewards, ddof=self.ddof)
            return [self._scaled(group.rewards_G, spread) for group in groups_P]
        return [self(group) for group in groups_P]

    def normalised(self, rewards: Sequence[float]) -> list[float]:
        """Numbers less their mean, and over their deviation unless ``std`` is ``none``."""
        spread = 0.0 if self.std == "none" else deviation(rewards, ddof=self.ddof)
        return self._scaled(rewards, spread)

    def _scaled(self, rewards_G: Sequence[float], spread: float) -> list[float]:
        if not _differ(rewards_G):
            return [0.0] * len(rewards_G)
        mean = math.fsum(rewards_G) / len(rewards_G)
        if self.std == "none":
            return [reward - mean for reward in rewards_G]
        if spread <= self.min_std:
            return [0.0] * len(rewards_G)
        return [(reward - mean) / (spread + self.eps) for reward in rewards_G]


def deviation(rewards: Sequence[float], *, ddof: int) -> float:
    """Their standard deviation, exactly 0 for equal ones, or a single one."""
    if not _differ(rewards):
        return 0.0
    mean = math.fsum(rewards) / len(rewards)
    squares = math.fsum((reward - mean) ** 2 for reward in rewards)
    return math.sqrt(squares / (len(rewards) - ddof))


def check_division(*, ddof: int, eps: float) -> None:
    """Raises:
    ValueError: ``ddof`` is neither 0 nor 1, or ``eps`` no small number.
    """
    if ddof not in (0, 1):
        raise ValueError(f"ddof={ddof}: take 1 (unbiased) or 0 (population)")
    if not (math.isfinite(eps) and eps >= 0):
        raise ValueError(
            f"eps={eps}: would turn advantages around or to nothing; take 0 or a small number such "
            "as 1e-6"
        )


def _differ(rewards: Sequence[float]) -> bool:
    return len(rewards) > 1 and min(rewards) != max(rewards)
