"""Known answers through the very processes that are to grade, before anything trains on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rlvr.types import Outcome, Problem, Verdict

WRONG = "-31415926"
"""An answer that no data set has."""

_FIX_DATA = (
    "Correct or leave out the problem, or choose a verifier that reads such answers "
    "(python -m rlvr.problems.check lists all that it does not)"
)
_FIX_CODE = "Correct the reward; a run on it would learn from noise"


class SelfTestError(RuntimeError):
    """The reward refuses a right answer, accepts a wrong one, or fails."""


class Grader(Protocol):
    """What grades, and knows how answers look."""

    @property
    def maximum(self) -> float | None:
        """The reward of a right answer; None where only its author knows."""
        ...

    async def grade(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]: ...

    async def examples(self, problem: Problem) -> tuple[str | None, str]:
        """A right answer (None where the reward does not say), and what the reward would call one
        if ``WRONG`` were the reference: the same where its example rests on something else."""
        ...


async def self_test(grader: Grader, problems: Sequence[Problem]) -> None:
    """Grade known answers.

    Where the reward says how a right answer looks (``example``), the reference itself must be
    correct and earn the maximum, and neither an empty text nor another answer may be correct.
    An example that does not rest on the reference leaves no other answer to try.
    Of other rewards only a verdict is asked.

    Raises:
        SelfTestError: names the problem, its reference, the verdict and the remedy.
    """
    for problem in problems:
        right, wrong = await grader.examples(problem)
        texts = [right or f"\\boxed{{{problem.answer}}}", wrong, ""]
        verdicts = await grader.grade(problem, texts)
        for verdict in verdicts:
            if verdict.outcome in (Outcome.ERROR, Outcome.TIMEOUT):
                raise _complaint(problem, verdict, "the reward failed", _FIX_CODE)
        if right is None:
            continue
        first, maximum = verdicts[0], grader.maximum
        if first.outcome is not Outcome.CORRECT or first.reward != (maximum or first.reward):
            what = f"the reference itself, given as {right!r}, is not accepted"
            raise _complaint(problem, first, what, _FIX_DATA)
        for text, verdict in zip(texts[1:], verdicts[1:], strict=True):
            if verdict.outcome is Outcome.CORRECT and text != right:
                raise _complaint(problem, verdict, "a wrong answer is accepted", _FIX_CODE)


def _complaint(problem: Problem, verdict: Verdict, what: str, remedy: str) -> SelfTestError:
    return SelfTestError(
        f"self-test of the reward on problem {problem.id!r} (reference {problem.answer[:200]!r}): "
        f"{what}. Verdict: {verdict.outcome}, reward {verdict.reward}, extracted "
        f"{verdict.extracted!r}, {verdict.detail or 'no detail'}. {remedy}."
    )
