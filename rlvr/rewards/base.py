"""The contracts of rewards: one looks at a text, the other at a graded group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rlvr.types import GradedGroup, Problem, Verdict

OTHERS = "*"
"""Among the routes of a reward, the place of all sources that have none of their own."""


class Reward(Protocol):
    """Grades one completion by rule.

    Pure and deterministic: the same problem and text give the same verdict in any process.
    It may be slow or crash on what a model wrote; ``rewards.serving.jail`` bounds it, so a reward
    neither sets timers nor catches what it does not expect.

    It may also have
        ``maximum: float``                 the reward of a right answer; asserted by the self-test
        ``example(problem) -> str | None``
            a right answer as it wants to see it; None where the problem holds none. The self-test
            also asks it of the problem with a wrong answer in place of the reference
        ``key(problem, text) -> str | None``
            what of the text its verdict rests on, such as the extracted answer: texts of equal
            keys get the verdict of the first from a cache; None where it must look each time
        ``dress(text) -> str``             for one that judges form alone: the text in that form
        ``routes: Mapping[str, str]``
            ``Problem.source`` -> name of what judges it, and ``OTHERS`` -> that of all other
            sources; without it they are judged under the name of the reward itself
    """

    def __call__(self, problem: Problem, text: str) -> Verdict: ...


class Shaping(Protocol):
    """Changes the rewards of a graded group by what a single text does not show: tokens, the
    reason why sampling stopped, the rest of the group.

    Pure and cheap arithmetic that runs where the loop runs. It sees verdicts as earlier shapings
    left them, never changes an outcome, and its change is logged as a part of the verdict.
    """

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        """The new reward of every graded rollout, in order."""
        ...
