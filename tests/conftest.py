"""Small complete values that tests build on."""

from rlvr.types import Finish, GradedGroup, Outcome, Problem, Rollout, Verdict, WeightVersion


def problem(id: str = "p/0", answer: str = "4", **changes) -> Problem:
    return Problem(id=id, prompt="2 + 2?", answer=answer, **changes)


def rollout(text: str = "4", *, tokens: int = 3, version: int = 0, **changes) -> Rollout:
    settings = {
        "prompt_ids": (1, 2),
        "completion_ids_T": (7,) * tokens,
        "logprobs_T": (-1.0,) * tokens,
        "versions_T": (WeightVersion(version),) * tokens,
        "text": text,
        "finish": Finish.STOP,
    }
    return Rollout(**settings | changes)


def verdict(reward: float | None) -> Verdict:
    if reward is None:
        return Verdict(outcome=Outcome.TIMEOUT, reward=None)
    return Verdict(outcome=Outcome.CORRECT if reward > 0 else Outcome.WRONG, reward=reward)


def graded(*rewards: float, id: str = "p/0", version: int = 0) -> GradedGroup:
    return GradedGroup(
        problem=problem(id),
        rollouts_G=tuple(rollout(version=version) for _ in rewards),
        verdicts_G=tuple(verdict(reward) for reward in rewards),
    )
