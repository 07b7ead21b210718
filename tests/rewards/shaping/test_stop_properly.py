import pytest

from rlvr.rewards.shaping.stop_properly import StopProperly
from rlvr.types import Finish
from tests.rewards.shaping.groups import EMPTY, group, rollout, verdict


def shaped(reward, coefficient, finish=Finish.LENGTH):
    given = group([rollout(finish=finish)], [verdict(reward > 0, reward)])
    return StopProperly(coefficient=coefficient)(given)[0]


@pytest.mark.parametrize(
    ("reward", "coefficient", "becomes"),
    [(1.0, 0.5, 0.5), (1.0, 0.0, 0.0), (1.0, -0.5, -0.5), (0.0, -0.5, -0.5), (0.0, 0.5, 0.0)],
)
def test_what_was_cut_off_earns_a_share_or_a_penalty(reward, coefficient, becomes):
    assert shaped(reward, coefficient) == becomes
    assert shaped(reward, coefficient, Finish.STOP) == reward
    assert list(StopProperly(coefficient=coefficient)(EMPTY)) == []


def test_not_to_stop_is_no_way_out_of_a_negative_reward():
    assert shaped(-1.0, 0.5) == -1.0
    assert shaped(-1.0, 0.0) == -1.0


@pytest.mark.parametrize("coefficient", [1.0, 2.0, float("nan"), float("-inf")])
def test_a_coefficient_that_cannot_work_is_refused(coefficient):
    with pytest.raises(ValueError, match="a share from 0 to below 1"):
        StopProperly(coefficient=coefficient)
