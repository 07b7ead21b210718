"""Shorter right answers earn more than longer ones to the same problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from rlvr.types import GradedGroup, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class KimiLength:
    """``0.5 - (n - min) / (max - min)`` over the lengths of a group, and no more than 0 for an
    answer that is not correct (Kimi k1.5, arXiv:2501.12599). Equal lengths change nothing."""

    weight: float
    after_version: int = 0
    """Groups sampled under older weights are left as they are: length pressure from the start
    slows learning down."""

    def __post_init__(self) -> None:
        if not (isfinite(self.weight) and self.weight > 0):
            raise ValueError(
                f"weight={self.weight}: a number above 0; leave the shaping out to switch it off"
            )
        if self.after_version < 0:
            raise ValueError(
                f"after_version={self.after_version}: optimizer steps before it begins, 0 or more"
            )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        if not group.rollouts_G or group.version < self.after_version:
            return group.rewards_G
        lengths_G = [len(rollout.completion_ids_T) for rollout in group.rollouts_G]
        shortest, longest = min(lengths_G), max(lengths_G)
        if shortest == longest:
            return group.rewards_G
        shaped: list[float] = []
        for reward, verdict, length in zip(
            group.rewards_G, group.verdicts_G, lengths_G, strict=True
        ):
            bonus = 0.5 - (length - shortest) / (longest - shortest)
            if verdict.outcome is not Outcome.CORRECT:
                bonus = min(0.0, bonus)
            shaped.append(reward + self.weight * bonus)
        return shaped
