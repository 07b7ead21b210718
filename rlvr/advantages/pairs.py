"""Which rollouts of a problem a preference loss compares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.types import GradedGroup, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectVersusWrong:
    """The i-th best right answer with the i-th worst of the others, for DPO on rollouts
    (arXiv:2305.18290).

    At most ``limit`` pairs, no rollout in two of them, and none where shaping has left the right
    answer without the larger reward. Ties go by the group's order.
    """

    limit: int = 1
    """Pairs of one problem. More of them give problems with many of both the most weight."""

    def __post_init__(self) -> None:
        _check_limit(self.limit)

    def pairs(self, group: GradedGroup) -> Sequence[tuple[int, int]]:
        rewards_G = group.rewards_G
        correct = _correct(group)
        best = sorted(correct, key=lambda i: (-rewards_G[i], i))
        wrong = set(range(len(rewards_G))) - correct
        worst = sorted(wrong, key=lambda i: (rewards_G[i], i))
        together = zip(best, worst, strict=False)
        return [(i, j) for i, j in together if rewards_G[i] > rewards_G[j]][: self.limit]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortestVersusLonger:
    """The shortest right answer with longer ones, wrong, or right and at least ``times`` as long:
    long2short by DPO (Kimi k1.5, arXiv:2501.12599).

    At most ``limit`` pairs, all with the same better one, the longest of the others first. Ties go
    by the group's order.
    """

    limit: int = 1
    times: float = 1.5

    def __post_init__(self) -> None:
        _check_limit(self.limit)
        if not (math.isfinite(self.times) and self.times > 1):
            raise ValueError(
                f"times={self.times}: a right answer that is no longer is no worse; take a finite "
                "number above 1, such as 1.5"
            )

    def pairs(self, group: GradedGroup) -> Sequence[tuple[int, int]]:
        lengths_G = [len(rollout.completion_ids_T) for rollout in group.rollouts_G]
        correct = _correct(group)
        if not correct:
            return []
        best = min(correct, key=lambda i: (lengths_G[i], i))
        shortest = lengths_G[best]
        longer = [
            i
            for i, length in enumerate(lengths_G)
            if (length >= self.times * shortest if i in correct else length > shortest)
        ]
        longer.sort(key=lambda i: -lengths_G[i])
        return [(best, i) for i in longer[: self.limit]]


def _correct(group: GradedGroup) -> set[int]:
    return {i for i, v in enumerate(group.verdicts_G) if v.outcome is Outcome.CORRECT}


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise ValueError(f"limit={limit}: counts the pairs of a problem; take at least 1")
