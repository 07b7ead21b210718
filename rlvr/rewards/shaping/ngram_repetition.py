"""A penalty on text that repeats itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from rlvr.types import GradedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class NgramRepetition:
    """Adds ``(1 - different / all) * max_penalty`` over the runs of ``n`` words of a text
    (arXiv:2502.03373). A text of fewer words is left as it is.

    Takes about a microsecond per word, in the process of the loop.
    """

    n: int
    """Words in a run; 20 to 40 spare what proofs and tables repeat with good reason."""
    max_penalty: float
    """What is added to the reward of a text that says one thing only, such as -0.05; below 0."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n={self.n}: a run has at least one word")
        if not (isfinite(self.max_penalty) and self.max_penalty < 0):
            raise ValueError(
                f"max_penalty={self.max_penalty}: it is added to the reward, so a number below 0; "
                "leave the shaping out to switch it off"
            )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return [
            reward + self.max_penalty * repetition(rollout.text, self.n)
            for reward, rollout in zip(group.rewards_G, group.rollouts_G, strict=True)
        ]


def repetition(text: str, n: int) -> float:
    """Share of the runs of ``n`` words that were there before; 0 where there is no run."""
    words = text.casefold().split()
    runs = list(zip(*(words[start:] for start in range(n)), strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
