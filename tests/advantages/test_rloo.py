import pytest

from rlvr.advantages.dr_grpo import DrGrpo
from rlvr.advantages.rloo import Rloo
from tests.conftest import graded


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ((1.0, 0.0, 0.0, 1.0), [2 / 3, -2 / 3, -2 / 3, 2 / 3]),
        ((0.0, 0.0, 0.0, 1.0), [-1 / 3, -1 / 3, -1 / 3, 1.0]),
        ((3.0, 1.0), [2.0, -2.0]),
        ((0.5, 1.0, -0.75), [0.375, 1.125, -1.5]),
    ],
)
def test_by_hand(rewards, expected):
    assert Rloo()(graded(*rewards)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rewards", [(0.0, 1.0), (0.3, 1.0, -0.7, 0.1), (0.2,) * 5 + (0.9,) * 3])
def test_each_reward_is_held_against_the_mean_of_the_others(rewards):
    others = [sum(rewards[:i] + rewards[i + 1 :]) / (len(rewards) - 1) for i in range(len(rewards))]
    expected = [reward - other for reward, other in zip(rewards, others, strict=True)]
    assert Rloo()(graded(*rewards)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rewards", [(0.0, 1.0), (0.3, 1.0, -0.7, 0.1), (0.2,) * 5 + (0.9,) * 3])
def test_is_dr_grpo_up_to_a_factor_that_depends_on_the_size_of_the_group(rewards):
    factor = len(rewards) / (len(rewards) - 1)
    expected = [factor * advantage for advantage in DrGrpo()(graded(*rewards))]
    assert Rloo()(graded(*rewards)) == pytest.approx(expected, abs=1e-12)
