"""A reward of one's own: right answers, and the shorter the better.

    python -m rlvr.train recipe=grpo_tiny reward=recipes/reward_example.py:score

The parameters' names say which convention is followed: ``problem`` and ``text`` are this
framework's; functions written for verl, TRL, OpenRLHF, AReaL, slime or verifiers work as they are.
``reward.style=TRL`` says it where the names do not, and ``reward.kwargs.limit=2000`` gives the
function's own settings. Before a run,

    python -m rlvr.rewards.test recipes/reward_example.py:score rows.jsonl

shows what it makes of right, wrong and hostile texts, how fast, and whether always the same.
"""

from rlvr.rewards.math import grade
from rlvr.types import Outcome, Problem, Verdict


def score(problem: Problem, text: str, limit: int = 4000) -> Verdict:
    """1 for a right answer in no time, down to 0.5 for one of ``limit`` characters or more."""
    verdict = grade(problem.answer, text)
    if verdict.outcome is not Outcome.CORRECT:
        return verdict
    length = min(len(text) / limit, 1.0)
    return Verdict(
        outcome=Outcome.CORRECT,
        reward=1.0 - 0.5 * length,
        extracted=verdict.extracted,
        parts={"characters": float(len(text))},
        verifier="length@1",
    )
