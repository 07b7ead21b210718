"""The length part of the surrogate that needs no reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.types import GradedGroup, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class SurrogateLength:
    """Adds ``f(tokens / max_tokens)`` to the reward of a valid text, and gives any other
    ``min(0, f)`` (arXiv:2505.19439).

    ``f(x)`` is ``1 - (1 - x/p)^2`` up to ``peak`` p, where it is 1, and from there
    ``1 - 2 ((x - p) / (1 - p))^2``, which is -1 at x = 1 and stays there. Valid is what
    ``rewards.surrogate`` calls correct.
    """

    max_tokens: int
    """As ``sampling.max_tokens``; 3072 in the paper."""
    peak: float = 0.5
    """Share of ``max_tokens`` that is rewarded most."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens}: take sampling.max_tokens, at least 1")
        if not 0.0 < self.peak < 1.0:
            raise ValueError(f"peak={self.peak}: a share of max_tokens, strictly between 0 and 1")

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        shaped: list[float] = []
        for reward, verdict, rollout in zip(
            group.rewards_G, group.verdicts_G, group.rollouts_G, strict=True
        ):
            length = self._of_length(len(rollout.completion_ids_T))
            valid = verdict.outcome is Outcome.CORRECT
            shaped.append(reward + length if valid else min(0.0, length))
        return shaped

    def _of_length(self, tokens: int) -> float:
        x = min(tokens / self.max_tokens, 1.0)
        if x <= self.peak:
            return 1 - (1 - x / self.peak) ** 2
        return 1 - 2 * ((x - self.peak) / (1 - self.peak)) ** 2
