"""Rewards that follow a cosine of the length: concise where right, thorough where wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.rewards.format import has_thought
from rlvr.types import Finish, GradedGroup, Outcome, Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class CosineLength:
    """The reward of Phi-4-reasoning-plus (arXiv:2504.21318), in place of the verifier's.

    Correct answers fall from ``right_short`` to ``right_long`` between ``right_from`` and
    ``right_until`` tokens; others rise from ``wrong_short`` to ``wrong_long`` between 0 and
    ``wrong_until``. It replaces what came before, so it stands first among shapings.
    """

    right_short: float = 1.0
    right_long: float = 0.5
    right_from: int = 25600
    right_until: int = 31744
    wrong_short: float = -1.0
    wrong_long: float = -0.5
    wrong_until: int = 3702
    unfinished: float = -0.5
    """The reward of a rollout that ran into the limit, whatever it says."""
    broken_thought: float | None = -1.0
    """The reward of a text without exactly one closed thought; None where none is asked for."""

    def __post_init__(self) -> None:
        if not 0 <= self.right_from < self.right_until or self.wrong_until < 1:
            raise ValueError(
                f"right_from={self.right_from}, right_until={self.right_until}, "
                f"wrong_until={self.wrong_until}: lengths in tokens; take "
                "0 <= right_from < right_until and 0 < wrong_until"
            )
        ordered = (self.wrong_short, self.wrong_long, self.right_long, self.right_short)
        if list(ordered) != sorted(ordered) or not all(map(math.isfinite, ordered)):
            raise ValueError(
                f"wrong_short, wrong_long, right_long, right_short = {ordered}: finite numbers in "
                "this order, or a wrong answer could earn more than a right one"
            )
        specials = [
            self.unfinished,
            *([] if self.broken_thought is None else [self.broken_thought]),
        ]
        if not all(special < self.right_short for special in specials):
            raise ValueError(
                f"unfinished={self.unfinished}, broken_thought={self.broken_thought}: must earn "
                f"less than right_short={self.right_short}"
            )

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return [
            self._reward(rollout, verdict.outcome is Outcome.CORRECT)
            for rollout, verdict in zip(group.rollouts_G, group.verdicts_G, strict=True)
        ]

    def _reward(self, rollout: Rollout, right: bool) -> float:
        if rollout.finish is Finish.LENGTH:
            return self.unfinished
        if self.broken_thought is not None and not has_thought(rollout.text):
            return self.broken_thought
        tokens = len(rollout.completion_ids_T)
        if right:
            late = max(tokens - self.right_from, 0) / (self.right_until - self.right_from)
            return _along(late, self.right_short, self.right_long)
        return _along(tokens / self.wrong_until, self.wrong_short, self.wrong_long)


def _along(way: float, start: float, end: float) -> float:
    """From ``start`` at 0 to ``end`` at 1 and beyond, along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(way, 1.0))) / 2
