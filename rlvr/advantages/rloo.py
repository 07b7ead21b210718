"""Each reward against the mean of the others in its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.advantages.grpo import Grpo
from rlvr.types import GradedGroup

_CENTRED = Grpo(std="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rloo:
    """``r_i - mean of the others``, which is ``G / (G - 1) * (r_i - mean)`` (arXiv:2402.14740).

    The baseline does not contain the reward that it is taken from, so the gradient is unbiased.
    A group with a single reward has no others and gets zero.
    """

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        count = len(group.rewards_G)
        if count < 2:
            return [0.0] * count
        return [centred * count / (count - 1) for centred in _CENTRED(group)]
