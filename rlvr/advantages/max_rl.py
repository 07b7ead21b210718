"""Advantages that follow the log of the pass rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.advantages.grpo import Grpo
from rlvr.types import GradedGroup

_CENTRED = Grpo(std="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxRl:
    """``(r - mean) / pass_rate`` (MaxRL, arXiv:2602.02710); zeros where nothing is right.

    The gradient of ``log p`` is the gradient of p divided by p, so a rarely solved problem weighs
    more: with rewards 1 and 0 a right answer gets ``(1 - p) / p`` and a wrong one -1. The paper
    divides by the mean reward, which is the pass rate there; the rate also holds where shaping
    has moved the rewards, and a mean may then be zero or negative.
    """

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        if not group.rewards_G:
            return []
        pass_rate = group.pass_rate
        return [centred / pass_rate if pass_rate else 0.0 for centred in _CENTRED(group)]
