"""A penalty that grows over the last tokens before the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from rlvr.types import GradedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftOverlong:
    """0 up to ``max_tokens - buffer`` tokens, from there linearly down to ``-factor`` at
    ``max_tokens`` and beyond (DAPO, arXiv:2503.14476: 20480, 4096, 1)."""

    max_tokens: int
    """As ``sampling.max_tokens``; with a larger number the full penalty is never met."""
    buffer: float
    """Tokens before the limit over which the penalty grows; below 1, that share of ``max_tokens``
    (0.2 in DAPO)."""
    factor: float = 1.0
    """Size of the full penalty (reward)."""

    def __post_init__(self) -> None:
        if not 0 < self.buffer <= self.max_tokens:
            raise ValueError(
                f"buffer={self.buffer}, max_tokens={self.max_tokens}: the penalty grows over the "
                "last tokens before the limit; take 0 < buffer <= max_tokens"
            )
        if not (isfinite(self.factor) and self.factor > 0):
            raise ValueError(
                f"factor={self.factor}: the size of the penalty, a number above 0; leave the "
                "shaping out to switch it off"
            )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return [
            reward - self.factor * self._share(len(rollout.completion_ids_T))
            for reward, rollout in zip(group.rewards_G, group.rollouts_G, strict=True)
        ]

    def _share(self, tokens: int) -> float:
        buffer = self.buffer if self.buffer >= 1 else self.buffer * self.max_tokens
        over = tokens - (self.max_tokens - buffer)
        return min(max(over, 0) / buffer, 1.0)
