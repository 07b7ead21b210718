import pytest

from rlvr.advantages.max_rl import MaxRl
from rlvr.types import GradedGroup, Outcome, Verdict
from tests.conftest import graded, problem, rollout


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ((1.0, 0.0, 0.0, 1.0), [1.0, -1.0, -1.0, 1.0]),
        ((0.0, 0.0, 0.0, 1.0), [-1.0, -1.0, -1.0, 3.0]),
        ((1.0, 1.0, 1.0, 0.0), [1 / 3, 1 / 3, 1 / 3, -1.0]),
    ],
)
def test_by_hand(rewards, expected):
    assert MaxRl()(graded(*rewards)) == pytest.approx(expected, abs=1e-12)


def shaped(*judged: tuple[Outcome, float]) -> GradedGroup:
    return GradedGroup(
        problem=problem(),
        rollouts_G=tuple(rollout() for _ in judged),
        verdicts_G=tuple(Verdict(outcome=outcome, reward=reward) for outcome, reward in judged),
    )


def test_a_mean_reward_of_zero_divides_nothing():
    group = shaped((Outcome.CORRECT, 1.0), (Outcome.WRONG, -1.0))
    assert MaxRl()(group) == [2.0, -2.0]


def test_a_group_without_a_right_answer_gets_zeros_though_its_rewards_differ():
    group = shaped((Outcome.WRONG, 0.0), (Outcome.WRONG, -0.5))
    assert MaxRl()(group) == [0.0, 0.0]
