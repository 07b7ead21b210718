"""Graded groups for the tests of shapings."""

from rlvr.types import Finish, GradedGroup, Outcome, Problem, Rollout, Verdict


def rollout(tokens=1, text="", finish=Finish.STOP, version=0):
    return Rollout(
        prompt_ids=(1,),
        completion_ids_T=(1,) * tokens,
        logprobs_T=(0.0,) * tokens,
        versions_T=(version,) * tokens,
        text=text,
        finish=finish,
    )


def verdict(right, reward=None):
    outcome = Outcome.CORRECT if right else Outcome.WRONG
    return Verdict(outcome=outcome, reward=float(right) if reward is None else reward)


def group(rollouts, verdicts):
    return GradedGroup(
        problem=Problem(id="p", prompt="", answer="4"),
        rollouts_G=tuple(rollouts),
        verdicts_G=tuple(verdicts),
    )


EMPTY = group([], [])
