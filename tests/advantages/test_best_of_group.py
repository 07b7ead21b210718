import pytest

from rlvr.advantages.best_of_group import BestOfGroup
from tests.conftest import graded


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ((0.0, 0.0, 0.0, 1.0), [0.0, 0.0, 0.0, 1.0]),
        ((1.0, 0.0, 0.0, 1.0), [0.0, 0.0, 0.0, 0.0]),
        ((0.25, 1.0, 0.75, -1.0), [0.0, 0.25, 0.0, 0.0]),
        ((-1.0, -0.5), [0.0, 0.5]),
    ],
)
def test_by_hand(rewards, expected):
    assert BestOfGroup()(graded(*rewards)) == expected


@pytest.mark.parametrize("rewards", [(0.3, 1.0, -0.7, 0.1), (1.0, 1.0, 0.0), (0.0, 1.0)])
def test_credit_is_what_the_best_would_lose_without_the_rollout(rewards):
    without = [max(rewards[:i] + rewards[i + 1 :]) for i in range(len(rewards))]
    assert BestOfGroup()(graded(*rewards)) == [max(rewards) - rest for rest in without]
