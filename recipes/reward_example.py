"""A reward of one's own: right answers, and the shorter the better.

    python -m rlvr.train recipe=grpo_tiny reward=recipes/reward_example.py:score

The parameters' names say which convention is followed: ``problem`` and ``text`` are this
framework's; functions written for verl, TRL or OpenRLHF work as they are.
"""

from rlvr.rewards.math import grade
from rlvr.types import Outcome, Problem, Verdict

LIMIT = 4000
"""Characters from which a right answer earns half."""


def score(problem: Problem, text: str) -> Verdict:
    """1 for a right answer in no time, down to 0.5 for one of ``LIMIT`` characters or more."""
    verdict = grade(problem.answer, text)
    if verdict.outcome is not Outcome.CORRECT:
        return verdict
    length = min(len(text) / LIMIT, 1.0)
    return Verdict(
        outcome=Outcome.CORRECT,
        reward=1.0 - 0.5 * length,
        extracted=verdict.extracted,
        parts={"characters": float(len(text))},
        verifier="length@1",
    )
