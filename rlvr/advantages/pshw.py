"""Centred rewards that weigh more for harder problems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.advantages.grpo import Grpo
from rlvr.types import GradedGroup

_CENTRED = Grpo(std="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pshw:
    """``(r - mean) * weight``, where the weight falls on a line from ``hard`` at a pass rate of 0
    to ``easy`` at 1: policy-specific hardness weighting (arXiv:2506.18330, equations 2 and 3).

    The paper writes the weight as ``1.256 - 0.256 * mean`` of rewards 1 and -1. Taken from the
    pass rate it is the same there, and is right for other rewards too; those of 1 and 0 have
    half the paper's advantages. The paper uses it with dynamic sampling and clip-higher.
    """

    hard: float = 1.512
    easy: float = 1.0

    def __post_init__(self) -> None:
        for name in ("hard", "easy"):
            weight = getattr(self, name)
            if not (math.isfinite(weight) and weight > 0):
                raise ValueError(
                    f"{name}={weight}: a weight of zero trains nothing and a negative one unlearns "
                    "right answers; take a positive number"
                )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        if not group.rewards_G:
            return []
        weight = self.easy + (self.hard - self.easy) * (1 - group.pass_rate)
        return [centred * weight for centred in _CENTRED(group)]
