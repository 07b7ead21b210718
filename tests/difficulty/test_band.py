import pytest

from rlvr.difficulty.band import BalancedBand
from tests.conftest import graded, problem


@pytest.mark.parametrize(
    ("rewards", "reason"),
    [((0, 0, 0, 0), "too_hard"), ((1, 1, 1, 1), "too_easy"), ((0, 0, 0, 1), "kept")],
)
def test_a_group_with_one_reward_throughout_does_not_train(rewards, reason):
    decision = BalancedBand().observe(graded(*rewards))
    assert (decision.reason, decision.keep) == (reason, reason == "kept")


@pytest.mark.parametrize(
    ("rewards", "reason"),
    [((0, 0, 0, 1), "too_hard"), ((0, 0, 1, 1), "kept"), ((0, 1, 1, 1), "too_easy")],
)
def test_a_narrow_band_keeps_the_middle(rewards, reason):
    assert BalancedBand(low=0.3, high=0.7).observe(graded(*rewards)).reason == reason


def test_shaped_rewards_that_differ_train_though_all_answers_are_right():
    assert BalancedBand().observe(graded(0.5, 1.0)).keep


def test_equal_rewards_inside_the_band_have_no_advantage():
    group = graded(1, 0)
    equal = type(group)(
        problem=group.problem,
        rollouts_G=group.rollouts_G,
        verdicts_G=tuple(type(v)(outcome=v.outcome, reward=0.5) for v in group.verdicts_G),
    )
    assert BalancedBand().observe(equal).reason == "no_variance"


def test_rest_ends_even_where_every_problem_rests():
    band = BalancedBand(rest=3)
    band.observe(graded(1, 1))
    assert [band.wants(problem()) for _ in range(5)] == [False, False, False, True, True]


def test_resumes_where_it_stopped():
    band = BalancedBand(rest=3)
    band.observe(graded(1, 1))
    band.wants(problem())
    resumed = BalancedBand(rest=3)
    resumed.load_state_dict(band.state_dict())
    assert [resumed.wants(problem()) for _ in range(3)] == [band.wants(problem()) for _ in range(3)]


@pytest.mark.parametrize(
    ("band", "says"), [({"low": 0.9, "high": 0.1}, "low=0.9 high=0.1"), ({"rest": -1}, "rest=-1")]
)
def test_says_what_is_wrong_with_a_band(band, says):
    with pytest.raises(ValueError, match=says):
        BalancedBand(**band)
