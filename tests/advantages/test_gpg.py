import pytest

from rlvr.advantages.dr_grpo import DrGrpo
from rlvr.advantages.gpg import Gpg
from tests.conftest import graded

HALF, QUARTER = (1.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0)


def test_alpha_is_all_rollouts_over_those_with_a_reward():
    halves, quarters = Gpg().over_batch([graded(*HALF), graded(*QUARTER)])
    assert halves == pytest.approx([a * 8 / 3 for a in (0.5, -0.5, -0.5, 0.5)], abs=1e-12)
    assert quarters == pytest.approx([a * 8 / 3 for a in (-0.25, -0.25, -0.25, 0.75)], abs=1e-12)


def test_a_single_reward_weighs_for_all():
    assert Gpg()(graded(*QUARTER)) == [-1.0, -1.0, -1.0, 3.0]


def test_rewards_of_one_and_minus_one_leave_alpha_at_one():
    group = graded(1.0, -1.0, -1.0)
    assert Gpg()(group) == DrGrpo()(group)


def test_a_batch_without_any_reward_gets_zeros():
    assert Gpg().over_batch([graded(0.0, 0.0), graded(0.0), graded()]) == [[0.0] * 2, [0.0], []]


def test_f_norm_divides_every_advantage():
    group = graded(*QUARTER)
    assert Gpg(f_norm=4.0)(group) == pytest.approx([a / 4 for a in Gpg()(group)], abs=1e-12)


@pytest.mark.parametrize("f_norm", [0.0, -1.0, float("nan"), float("inf")])
def test_an_f_norm_that_divides_by_nothing_is_refused(f_norm):
    with pytest.raises(ValueError, match=rf"f_norm={f_norm}.*take"):
        Gpg(f_norm=f_norm)
