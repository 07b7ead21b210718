import pytest

from rlvr.advantages.pshw import Pshw
from tests.conftest import graded


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ((1.0, -1.0, -1.0, 1.0), [1.256, -1.256, -1.256, 1.256]),
        ((-1.0, -1.0, -1.0, 1.0), [-0.692, -0.692, -0.692, 2.076]),
        ((1.0, 0.0, 0.0, 1.0), [0.628, -0.628, -0.628, 0.628]),
    ],
)
def test_by_hand(rewards, expected):
    assert Pshw()(graded(*rewards)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("right", [1, 2, 5, 7])
def test_with_rewards_of_one_and_minus_one_it_is_the_published_formula(right):
    rewards = [1.0] * right + [-1.0] * (8 - right)
    mean = sum(rewards) / 8
    expected = [(reward - mean) * (-0.256 * mean + 1.256) for reward in rewards]
    assert Pshw()(graded(*rewards)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("settings", [{"hard": 0.0}, {"easy": -1.0}, {"hard": float("nan")}])
def test_a_weight_that_would_not_teach_is_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=rf"{name}=.*take a positive number"):
        Pshw(**settings)
