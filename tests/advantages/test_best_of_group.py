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


# Rewards 0, 0, 0, 1: a variance of 3/4 / 3 = 1/4, or 3/16 of the population.
# Rewards 1/4, 1, 3/4, -1: mean 1/4, squares 0 + 9/16 + 4/16 + 25/16 = 38/16.
@pytest.mark.parametrize(
    ("settings", "rewards", "expected"),
    [
        ({}, (0.0, 0.0, 0.0, 1.0), [0.0, 0.0, 0.0, 1 / (0.5 + 1e-6)]),
        ({"ddof": 0, "eps": 0.0}, (0.0, 0.0, 0.0, 1.0), [0.0, 0.0, 0.0, 4 / 3**0.5]),
        ({"eps": 0.5}, (0.0, 0.0, 0.0, 1.0), [0.0, 0.0, 0.0, 1.0]),
        ({}, (0.25, 1.0, 0.75, -1.0), [0.0, 0.25 / ((38 / 48) ** 0.5 + 1e-6), 0.0, 0.0]),
        ({}, (1.0, 0.0, 0.0, 1.0), [0.0] * 4),
        ({}, (1.0, 1.0), [0.0] * 2),
        ({"eps": 0.0}, (1e-200, 0.0, 0.0), [0.0] * 3),
    ],
)
def test_over_the_groups_deviation_by_hand(settings, rewards, expected):
    advantages = BestOfGroup(std="group", **settings)(graded(*rewards))
    assert advantages == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"std": "batch"}, "std='batch'"),
        ({"ddof": 2}, "ddof=2"),
        ({"eps": float("nan")}, "eps=nan"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(settings, says):
    with pytest.raises(ValueError, match=f"{says}.*take"):
        BestOfGroup(**settings)
