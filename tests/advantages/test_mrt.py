from dataclasses import replace

import pytest

from rlvr.advantages.base import Stateful
from rlvr.advantages.grpo import Grpo
from rlvr.advantages.mrt import Mrt, MrtProgress, progress
from rlvr.advantages.pairs import CorrectVersusWrong
from rlvr.advantages.reinforce import Reinforce, ReinforceBatchMean, ReinforceRunningMean
from rlvr.advantages.step_mc import StepMonteCarlo
from rlvr.types import GradedGroup

VALUES = (
    ((0, 0.25), (10, 0.25), (20, 0.75)),
    ((0, 0.25), (7, 0.5)),
    ((0, 0.25), (5, 0.125), (9, 0.0)),
)


def group_of(*rewards, values=VALUES) -> GradedGroup:
    return replace(GradedGroup.of_rewards(rewards), prefix_values_G=values)


def test_the_reward_of_answering_at_once_is_the_baseline():
    assert Mrt()(group_of(1.0, 1.0, 0.0)) == [0.75, 0.75, -0.25]


def test_progress_is_what_each_episode_adds():
    assert progress(VALUES[0]) == [0.0, 0.5]
    assert progress(VALUES[2]) == [-0.125, -0.125]
    assert progress(((0, 0.5),)) == []


def test_progress_is_paid_on_top_of_the_reward():
    total = MrtProgress(alpha=0.5, estimator=Reinforce())
    assert total(group_of(1.0, 1.0, 0.0)) == [1.25, 1.125, -0.125]


def test_the_totals_of_a_group_are_compared():
    found = MrtProgress(alpha=0.5)(group_of(1.0, 1.0, 0.0))
    expected = Grpo()(GradedGroup.of_rewards((1.25, 1.125, -0.125)))
    assert found == pytest.approx(expected, abs=1e-12)


def test_without_weight_progress_changes_nothing():
    group = group_of(1.0, 0.0, 0.0)
    assert MrtProgress(alpha=0.0)(group) == Grpo()(group)


def test_a_rollout_without_values_gets_zero_and_is_not_compared():
    group = group_of(1.0, 1.0, 0.0, values=(VALUES[0], (), VALUES[2]))
    assert Mrt()(group) == [0.75, 0.0, -0.25]
    first, second, third = MrtProgress(alpha=0.5)(group)
    assert second == 0.0
    assert [first, third] == Grpo()(GradedGroup.of_rewards((1.25, -0.125)))


@pytest.mark.parametrize("advantage", [Mrt(), MrtProgress(alpha=0.5)])
def test_a_group_that_was_not_probed_trains_nothing(advantage):
    assert advantage.needs_prefix_values
    assert advantage(GradedGroup.of_rewards((1.0, 0.0))) == [0.0, 0.0]
    assert advantage(GradedGroup.of_rewards(())) == []


@pytest.mark.parametrize("advantage", [Mrt(), MrtProgress(alpha=0.5)])
def test_values_for_another_number_of_rollouts_are_refused(advantage):
    for rewards in ((1.0, 0.0), (1.0, 0.0, 1.0, 0.0)):
        with pytest.raises(ValueError, match=rf"3 for {len(rewards)} rollouts; take one for each"):
            advantage(group_of(*rewards))


def test_totals_may_be_compared_over_the_batch():
    # Totals of 1.25, 1.125 and -0.125, and of 0.125: their mean is 2.375 / 4.
    groups = group_of(1.0, 1.0, 0.0), group_of(0.0, 1.0, values=(VALUES[1], ()))
    over = MrtProgress(alpha=0.5, estimator=ReinforceBatchMean()).over_batch(groups)
    mean = 2.375 / 4
    assert over == [[1.25 - mean, 1.125 - mean, -0.125 - mean], [0.125 - mean, 0.0]]
    by_group = MrtProgress(alpha=0.5, estimator=Grpo(std="batch"))
    assert by_group.over_batch(groups)[0] != by_group(groups[0])


def test_what_it_compares_with_may_remember():
    advantage = MrtProgress(alpha=0.5, estimator=ReinforceRunningMean(decay=None))
    assert isinstance(advantage, Stateful)
    advantage.over_batch([group_of(1.0, 1.0, 0.0)])
    assert advantage.state_dict() == {"mean": 0.75, "batches": 1}
    resumed = MrtProgress(alpha=0.5, estimator=ReinforceRunningMean(decay=None))
    resumed.load_state_dict(advantage.state_dict())
    assert resumed(group_of(0.0, 1.0, 0.0)) == [-0.5, 0.375, -0.875]
    nothing = MrtProgress(alpha=0.5)
    nothing.load_state_dict(nothing.state_dict())
    assert nothing.state_dict() == {}


@pytest.mark.parametrize("estimator", [StepMonteCarlo(), CorrectVersusWrong()])
def test_an_estimator_without_credit_for_totals_is_refused(estimator):
    with pytest.raises(ValueError, match=rf"^estimator={type(estimator).__name__}: .*such as"):
        MrtProgress(alpha=0.2, estimator=estimator)


@pytest.mark.parametrize("alpha", [-0.1, float("inf"), float("nan")])
def test_a_weight_that_punishes_progress_is_refused(alpha):
    with pytest.raises(ValueError, match=rf"alpha={alpha}.*take"):
        MrtProgress(alpha=alpha)
