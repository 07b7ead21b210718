"""Keeps problems that the policy sometimes solves."""

from __future__ import annotations

from typing import Any

from rlvr.difficulty.base import Decision
from rlvr.types import GradedGroup, Problem


class BalancedBand:
    """Drops groups whose pass rate lies outside an open band around one half.

    Online difficulty filtering (arXiv:2504.03380): with a binary reward, what a group can teach
    grows with p(1-p). The widest band, ``low=0, high=1``, drops just the groups without any
    advantage, which is DAPO's dynamic sampling (arXiv:2503.14476).

    A dropped problem rests for a while. Rest is counted in problems offered, the resting ones
    too: it ends even where every problem rests, and needs no clock that a resumed run would lose.
    """

    def __init__(self, *, low: float = 0.0, high: float = 1.0, rest: int = 0) -> None:
        if not 0.0 <= low < high <= 1.0:
            raise ValueError(f"{low=} {high=}: a band of pass rates needs 0 <= low < high <= 1")
        if rest < 0:
            raise ValueError(f"{rest=}: problems offered while one rests cannot be negative")
        self.low = low
        self.high = high
        self.rest = rest
        self._offered = 0
        self._rests_until: dict[str, int] = {}

    def wants(self, problem: Problem) -> bool:
        self._offered += 1
        if self._rests_until.get(problem.id, 0) >= self._offered:
            return False
        self._rests_until.pop(problem.id, None)
        return True

    def observe(self, group: GradedGroup) -> Decision:
        rate = group.pass_rate
        too_hard = rate <= self.low
        too_easy = rate >= self.high
        if max(group.rewards_G) > min(group.rewards_G):
            # Rewards of more than two values can differ where all or none are correct.
            too_hard = too_hard and self.low > 0.0
            too_easy = too_easy and self.high < 1.0
            if not too_hard and not too_easy:
                return Decision(True, "kept")
        if self.rest:
            self._rests_until[group.problem.id] = self._offered + self.rest
        reason = "too_hard" if too_hard else "too_easy" if too_easy else "no_variance"
        return Decision(False, reason)

    def state_dict(self) -> dict[str, Any]:
        return {"offered": self._offered, "rests_until": dict(self._rests_until)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._offered = state["offered"]
        self._rests_until = dict(state["rests_until"])
