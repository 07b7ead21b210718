import pytest

from rlvr.advantages.dr_grpo import DrGrpo
from rlvr.advantages.grpo import Grpo
from tests.conftest import graded

HALF = (1.0, 0.0, 0.0, 1.0)
QUARTER = (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("advantage", "rewards", "expected"),
    [
        (Grpo(), HALF, [0.8660239038, -0.8660239038, -0.8660239038, 0.8660239038]),
        (Grpo(), QUARTER, [-0.499999, -0.499999, -0.499999, 1.499997]),
        (Grpo(ddof=0), HALF, [0.999998, -0.999998, -0.999998, 0.999998]),
        (Grpo(ddof=0), QUARTER, [-0.5773489359, -0.5773489359, -0.5773489359, 1.7320468076]),
        (Grpo(std="none"), HALF, [0.5, -0.5, -0.5, 0.5]),
        (DrGrpo(), HALF, [0.5, -0.5, -0.5, 0.5]),
        (DrGrpo(), QUARTER, [-0.25, -0.25, -0.25, 0.75]),
    ],
)
def test_by_hand(advantage, rewards, expected):
    assert advantage(graded(*rewards)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("advantage", [Grpo(), Grpo(ddof=0), DrGrpo()])
@pytest.mark.parametrize("rewards", [(), (1.0,), (1.0, 1.0, 1.0), (0.1, 0.1, 0.1)])
def test_a_group_that_compares_nothing_gets_zeros(advantage, rewards):
    assert advantage(graded(*rewards)) == [0.0] * len(rewards)


def test_advantages_of_a_group_add_up_to_nothing():
    assert sum(Grpo()(graded(0.3, 1.0, -0.7, 0.1))) == pytest.approx(0.0, abs=1e-12)


def test_a_difference_that_means_nothing_is_not_blown_up():
    shaped = graded(1.0, 1.0, 1.0, 0.999)
    assert min(Grpo()(shaped)) == pytest.approx(-1.5, abs=0.01)
    assert Grpo(min_std=0.01)(shaped) == [0.0] * 4
    assert Grpo(min_std=0.01)(graded(*HALF)) == Grpo()(graded(*HALF))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"std": "batch"}, "std='batch'"),
        ({"ddof": 2}, "ddof=2"),
        ({"eps": -1.0}, "eps=-1.0"),
        ({"eps": float("nan")}, "eps=nan"),
        ({"min_std": -0.1}, "min_std=-0.1"),
        ({"min_std": 0.1, "std": "none"}, "min_std=0.1 with std='none'"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(settings, says):
    with pytest.raises(ValueError, match=f"{says}.*take"):
        Grpo(**settings)
