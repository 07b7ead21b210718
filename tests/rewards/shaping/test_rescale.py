import pytest

from rlvr.rewards.shaping.rescale import Rescale
from tests.rewards.shaping.groups import EMPTY, group, rollout, verdict


@pytest.mark.parametrize(
    ("settings", "rewards", "rescaled"),
    [
        ({}, [0.0, 1.0], [-1.0, 1.0]),
        ({}, [0.25, 1.5, -0.5], [-0.5, 2.0, -2.0]),
        ({"wrong": -5.0, "right": 5.0}, [0.0, 0.5, 1.0], [-5.0, 0.0, 5.0]),
        ({"wrong": 0.0, "right": 0.5}, [0.0, 1.0], [0.0, 0.5]),
    ],
)
def test_zero_becomes_wrong_one_becomes_right_and_the_rest_stays_in_proportion(
    settings, rewards, rescaled
):
    given = group([rollout() for _ in rewards], [verdict(True, reward) for reward in rewards])
    assert list(Rescale(**settings)(given)) == pytest.approx(rescaled)


def test_a_group_without_graded_rollouts_stays_empty():
    assert list(Rescale()(EMPTY)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"wrong": 1.0, "right": 1.0},
        {"wrong": 1.0, "right": -1.0},
        {"wrong": float("nan")},
        {"right": float("inf")},
    ],
)
def test_a_scale_that_cannot_work_is_refused(wrong):
    with pytest.raises(ValueError, match=r"wrong=.*right=.*wrong < right"):
        Rescale(**wrong)
