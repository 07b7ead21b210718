"""Checks references against the reward that is to judge by them.

A reference that its own verifier does not accept can't be learned: every answer to it is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rlvr.types import Outcome, Problem, Verdict


class ExemplifiedReward(Protocol):
    """A reward that can say how a right answer looks."""

    def __call__(self, problem: Problem, text: str) -> Verdict: ...

    def example(self, answer: str) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A problem whose reference is not accepted."""

    problem_id: str
    answer: str
    verdict: Verdict

    def __str__(self) -> str:
        why = self.verdict.detail or f"read as {self.verdict.extracted!r}"
        return f"{self.problem_id}: {self.answer!r} is {self.verdict.outcome} ({why})"


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldCheck:
    """How many references were graded, and those that were not accepted."""

    checked: int
    rejected: tuple[Rejected, ...]


def check_gold(
    reward: ExemplifiedReward,
    problems: Sequence[Problem],
    *,
    sample: int | None = None,
    seed: int = 0,
) -> GoldCheck:
    """Grade references as if a model had given them; all of them, or a random ``sample``.

    Takes a ``Math`` as well as a ``Jail``; of data that nobody has looked at, take a jail.

    Raises:
        ValueError: the reward does not say how a right answer looks.
    """
    some = list(problems)
    if sample is not None and sample < len(some):
        some = random.Random(seed).sample(some, sample)
    rejected: list[Rejected] = []
    for problem in some:
        text = reward.example(problem.answer)
        if text is None:
            raise ValueError(
                "this reward has no example(answer) -> text, so its references cannot be checked; "
                "add that method, or skip the check"
            )
        verdict = reward(problem, text)
        if verdict.outcome is not Outcome.CORRECT:
            rejected.append(Rejected(problem_id=problem.id, answer=problem.answer, verdict=verdict))
    return GoldCheck(checked=len(some), rejected=tuple(rejected))
