"""The contract of a reward."""

from __future__ import annotations

from typing import Protocol

from rlvr.types import Problem, Verdict


class Reward(Protocol):
    """Grades one completion by rule.

    Pure and deterministic: the same problem and text give the same verdict in any process.
    It may be slow or crash on what a model wrote; ``rewards.jail`` bounds it, so a reward
    neither sets timers nor catches what it does not expect.
    """

    def __call__(self, problem: Problem, text: str) -> Verdict: ...
