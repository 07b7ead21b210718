import pytest

from rlvr.advantages.reinforce import Reinforce
from tests.conftest import graded


def test_without_a_baseline_the_reward_is_the_advantage():
    assert Reinforce()(graded(1.0, 0.0, -0.5)) == [1.0, 0.0, -0.5]


def test_a_baseline_is_taken_from_every_reward():
    assert Reinforce(baseline=0.25)(graded(1.0, 0.0, -0.5)) == [0.75, -0.25, -0.75]


def test_a_group_of_equal_rewards_trains_all_the_same():
    assert Reinforce(baseline=0.5)(graded(1.0, 1.0)) == [0.5, 0.5]


def test_a_group_of_one_is_like_any_other():
    assert Reinforce(baseline=0.5)(graded(0.0)) == [-0.5]


@pytest.mark.parametrize("baseline", [float("nan"), float("inf")])
def test_a_baseline_that_is_no_number_is_refused(baseline):
    with pytest.raises(ValueError, match=r"baseline=(nan|inf).*take"):
        Reinforce(baseline=baseline)
