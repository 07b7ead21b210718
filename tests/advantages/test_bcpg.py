"""What judged steps make of a group's credit."""

import pytest

from rlvr.advantages.bcpg import step_weighted
from rlvr.types import GradedGroup

GROUP = GradedGroup.of_rewards((1.0, 0.0, 0.0, 0.0), lengths_G=(2, 3, 1, 2))
RIGHT = ((True, False), (True, True, False), (False,), (True, True))


@pytest.mark.parametrize(
    ("beta", "spared"), [(0.5, -0.125), (1.0, -0.25), (0.0, 0.0), (-0.5, 0.125), (-1.0, 0.25)]
)
def test_right_steps_of_wrong_answers_weigh_beta_and_all_others_one(beta, spared):
    assert step_weighted(GROUP, RIGHT, beta=beta) == [
        [0.75, 0.75],
        [spared, spared, -0.25],
        [-0.25],
        [spared, spared],
    ]


def test_half_is_spared_unless_told_otherwise():
    assert step_weighted(GROUP, RIGHT) == step_weighted(GROUP, RIGHT, beta=0.5)


def test_a_wrong_answer_is_told_by_its_verdict_and_not_by_the_mean():
    # Of rewards 1 and 1/2 the second is right too, though it is below the mean.
    group = GradedGroup.of_rewards((1.0, 0.5))
    assert step_weighted(group, ((True,), (True,))) == [[0.25], [-0.25]]


def test_a_group_without_rollouts_has_no_credit():
    assert step_weighted(GradedGroup.of_rewards(()), ()) == []


@pytest.mark.parametrize("beta", [1.5, -1.1, float("nan")])
def test_a_beta_that_weighs_right_steps_more_is_refused(beta):
    with pytest.raises(ValueError, match=rf"beta={beta}.*take"):
        step_weighted(GROUP, RIGHT, beta=beta)


@pytest.mark.parametrize("labels", [RIGHT[:3], (*RIGHT[:3], (True,))])
def test_labels_that_are_not_one_for_each_token_are_refused(labels):
    with pytest.raises(ValueError, match=r"right_steps_G has .* labels .*give one"):
        step_weighted(GROUP, labels)
