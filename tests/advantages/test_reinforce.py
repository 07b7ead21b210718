import pytest

from rlvr.advantages.base import BatchAdvantage, Stateful
from rlvr.advantages.reinforce import (
    Reinforce,
    ReinforceBatchMean,
    ReinforceRunningMean,
    effective_positive_fraction,
)
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


def test_a_batchs_mean_is_that_of_its_rollouts_and_not_of_its_groups():
    first, second = ReinforceBatchMean().over_batch([graded(1.0, 0.0, 0.0, 1.0), graded(1.0)])
    assert first == pytest.approx([0.4, -0.6, -0.6, 0.4], abs=1e-12)
    assert second == pytest.approx([0.4], abs=1e-12)


def test_two_groups_against_the_mean_of_all_eight():
    halves, quarters = ReinforceBatchMean().over_batch(
        [graded(1.0, 0.0, 0.0, 1.0), graded(0.0, 0.0, 0.0, 1.0)]
    )
    assert halves == [0.625, -0.375, -0.375, 0.625]
    assert quarters == [-0.375, -0.375, -0.375, 0.625]


def test_the_first_batch_is_held_against_itself_and_the_next_against_what_was_before():
    advantage = ReinforceRunningMean(decay=0.75)
    assert advantage.over_batch([graded(1.0), graded(0.0)]) == [[0.5], [-0.5]]
    assert advantage(graded(1.0, 1.0)) == [0.5, 0.5]  # 0.5 so far; then 3/8 + 1/4
    assert advantage(graded(0.0)) == [-0.625]
    assert advantage.mean == 0.75 * 0.625


def test_without_a_decay_every_batch_counts_alike():
    advantage = ReinforceRunningMean(decay=None)
    for reward in (1.0, 0.0, 0.5, 0.5, 1.0):
        advantage(graded(reward))
    assert advantage.mean == pytest.approx(0.6, abs=1e-12)
    assert advantage(graded(1.0)) == pytest.approx([0.4], abs=1e-12)


def test_a_batch_without_rewards_leaves_the_mean_as_it_was():
    advantage = ReinforceRunningMean()
    assert advantage.over_batch([graded(), graded()]) == [[], []]
    assert advantage.state_dict() == {"mean": 0.0, "batches": 0}
    advantage(graded(1.0))
    assert advantage.over_batch([]) == []
    assert advantage(graded(1.0)) == [0.0]


@pytest.mark.parametrize("decay", [0.5, None])
def test_a_resumed_running_mean_goes_on_as_if_it_had_not_stopped(decay):
    stays, stopped = ReinforceRunningMean(decay=decay), ReinforceRunningMean(decay=decay)
    for advantage in (stays, stopped):
        advantage(graded(1.0, 0.0))
        advantage(graded(1.0))
    resumed = ReinforceRunningMean(decay=decay)
    resumed.load_state_dict(stopped.state_dict())
    for rewards in ((0.0, 1.0), (0.25,)):
        assert resumed(graded(*rewards)) == stays(graded(*rewards))


def test_what_they_offer_can_be_asked():
    assert not isinstance(Reinforce(), BatchAdvantage)
    assert isinstance(ReinforceBatchMean(), BatchAdvantage)
    assert not isinstance(ReinforceBatchMean(), Stateful)
    assert isinstance(ReinforceRunningMean(), BatchAdvantage)
    assert isinstance(ReinforceRunningMean(), Stateful)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_that_forgets_nothing_or_too_much_is_refused(decay):
    with pytest.raises(ValueError, match=rf"decay={decay}.*take"):
        ReinforceRunningMean(decay=decay)


@pytest.mark.parametrize(
    ("p", "baseline", "expected"),
    [
        (0.5, 0.0, 0.5),
        (0.5, 0.5, 0.25),  # 0.5 x 0.5 against 0.5 x 1.5
        (0.2, -0.5, 3 / 7),  # 0.2 x 1.5 against 0.8 x 0.5
        (0.8, 0.5, 4 / 7),  # 0.8 x 0.5 against 0.2 x 1.5
        (0.3, -1.0, 1.0),
        (0.3, 1.0, 0.0),
        (0.0, 0.5, 0.0),
        (1.0, 0.5, 1.0),
    ],
)
def test_a_baseline_moves_weight_between_right_and_wrong(p, baseline, expected):
    assert effective_positive_fraction(p, baseline) == pytest.approx(expected, abs=1e-12)


def test_the_effective_fraction_is_the_share_of_the_advantages():
    advantages = Reinforce(baseline=-0.3)(graded(1.0, 1.0, -1.0, -1.0, -1.0))
    share = sum(a for a in advantages if a > 0) / sum(map(abs, advantages))
    assert effective_positive_fraction(0.4, -0.3) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("p", "baseline", "says"),
    [
        (1.1, 0.0, r"p=1.1"),
        (float("nan"), 0.0, r"p=nan"),
        (0.5, -1.1, r"baseline=-1.1"),
        (0.5, float("nan"), r"baseline=nan"),
        (1.0, 1.0, r"baseline=1.0 with p=1.0"),
        (0.0, -1.0, r"baseline=-1.0 with p=0.0"),
    ],
)
def test_a_fraction_of_nothing_is_refused(p, baseline, says):
    with pytest.raises(ValueError, match=f"{says}.*take"):
        effective_positive_fraction(p, baseline)
