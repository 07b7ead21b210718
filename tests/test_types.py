"""Values that are complete, and those that are refused."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from rlvr.advantages.gdpo import Gdpo
from rlvr.advantages.grpo import Grpo
from rlvr.advantages.mrt import Mrt
from rlvr.types import GradedGroup, Outcome, Verdict


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), -float("inf"), np.float32("nan")])
def test_a_reward_that_is_no_number_is_refused(reward):
    with pytest.raises(ValueError, match=rf"reward={reward}.*give a finite number"):
        Verdict(outcome=Outcome.WRONG, reward=reward)
    with pytest.raises(ValueError, match=rf"reward={reward}"):
        GradedGroup.of_rewards([1.0, reward])


@pytest.mark.parametrize(
    "rewards",
    [
        [1, 0, 0.5],
        [True, False, Fraction(1, 2)],
        np.array([1, 0, 0.5], np.float32),
        torch.tensor([1, 0, 0.5], dtype=torch.bfloat16),
    ],
)
def test_a_made_up_groups_rewards_are_plain_numbers(rewards):
    group = GradedGroup.of_rewards(rewards)
    assert group.rewards_G == (1.0, 0.0, 0.5)
    assert {type(reward) for reward in group.rewards_G} == {float}
    assert [v.outcome for v in group.verdicts_G] == ["correct", "wrong", "correct"]
    assert {type(a) for a in Grpo()(group)} == {float}


def test_numbers_of_single_precision_lose_nothing_more():
    found = Grpo(eps=0.0)(GradedGroup.of_rewards(np.array([0.1, 0.7, 0.4], np.float32)))
    assert found == pytest.approx([-1.0, 1.0, 0.0], abs=1e-6)
    exact = [float(np.float32(reward)) for reward in (0.1, 0.7, 0.4)]
    assert found == Grpo(eps=0.0)(GradedGroup.of_rewards(exact))


def test_what_was_not_graded_is_kept_aside_and_its_rollout_left_out():
    group = GradedGroup.of_rewards(
        [1, None, 0],
        lengths_G=[2, 9, 3],
        parts_G=[{"math": 1.0}, {}, {"math": 0.0}],
        prefix_values_G=[((0, 0.25),), ((0, 0.5),), ((0, 0.75),)],
    )
    assert group.rewards_G == (1.0, 0.0)
    assert [len(r.completion_ids_T) for r in group.rollouts_G] == [2, 3]
    assert group.ungraded == (Verdict(outcome=Outcome.ABSTAIN, reward=None),)
    assert Grpo(std="none")(group) == [0.5, -0.5]
    assert Mrt()(group) == [0.75, -0.75]
    assert Gdpo(weights={"math": 1.0}, over="rollouts", eps=0.0)(group) == pytest.approx(
        [0.5**0.5, -(0.5**0.5)], abs=1e-12
    )


def test_a_made_up_group_of_nothing_graded_is_empty():
    group = GradedGroup.of_rewards([None, None])
    assert (group.rollouts_G, group.rewards_G, len(group.ungraded)) == ((), (), 2)
    assert GradedGroup.of_rewards([]).ungraded == ()


def test_unless_told_a_made_up_rollout_has_one_token_and_no_more_to_say():
    group = GradedGroup.of_rewards([1.0, 0.0])
    assert [len(r.completion_ids_T) for r in group.rollouts_G] == [1, 1]
    assert group.prefix_values_G == ()
    assert [dict(v.parts) for v in group.verdicts_G] == [{}, {}]


@pytest.mark.parametrize(
    ("name", "given"),
    [("lengths_G", [1]), ("parts_G", [{}]), ("prefix_values_G", [(), (), ()])],
)
def test_what_is_not_one_for_each_reward_is_refused(name, given):
    with pytest.raises(ValueError, match=rf"{name}: {len(given)} for 2 rewards.*give one"):
        GradedGroup.of_rewards([1.0, 0.0], **{name: given})
