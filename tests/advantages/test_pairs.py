import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.advantages.base import PairSelection
from rlvr.advantages.pairs import CorrectVersusWrong, ShortestVersusLonger
from rlvr.types import GradedGroup, Outcome, Verdict
from tests.conftest import graded, problem, rollout


def judged(*verdicts: tuple[Outcome, float]) -> GradedGroup:
    return GradedGroup(
        problem=problem(),
        rollouts_G=tuple(rollout() for _ in verdicts),
        verdicts_G=tuple(Verdict(outcome=outcome, reward=reward) for outcome, reward in verdicts),
    )


def test_the_best_right_one_is_paired_with_the_worst_wrong_one():
    group = graded(0.5, -1.0, 1.0, 0.0, 0.7)
    assert CorrectVersusWrong().pairs(group) == [(2, 1)]
    assert CorrectVersusWrong(limit=8).pairs(group) == [(2, 1), (4, 3)]


def test_equal_rewards_are_paired_in_the_order_of_the_group():
    group = graded(0.0, 1.0, 0.0, 1.0, 1.0)
    assert CorrectVersusWrong(limit=2).pairs(group) == [(1, 0), (3, 2)]


@pytest.mark.parametrize("rewards", [(), (1.0,), (0.0,), (1.0, 1.0), (0.0, 0.0, 0.0)])
def test_a_group_without_both_has_no_pairs(rewards):
    assert CorrectVersusWrong(limit=4).pairs(graded(*rewards)) == []


def test_a_right_answer_that_shaping_left_no_better_is_not_preferred():
    group = judged((Outcome.CORRECT, 0.1), (Outcome.NO_ANSWER, 0.1), (Outcome.WRONG, 0.2))
    assert CorrectVersusWrong().pairs(group) == []


@settings(max_examples=50, deadline=None)
@given(
    rewards=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), max_size=8), limit=st.integers(1, 4)
)
def test_no_rollout_is_in_two_pairs_and_the_first_of_each_is_better(rewards, limit):
    pairs = CorrectVersusWrong(limit=limit).pairs(graded(*rewards))
    members = [index for pair in pairs for index in pair]
    assert len(set(members)) == len(members)
    assert all(rewards[better] > 0 >= rewards[worse] for better, worse in pairs)
    right = sum(reward > 0 for reward in rewards)
    assert len(pairs) == min(limit, right, len(rewards) - right)


def test_the_shortest_right_answer_is_held_against_all_that_are_longer():
    # Right: 8 (the shortest), 12 (1.5 times), 11 (less). Wrong: 9 (longer), 4 and 8 (not).
    group = GradedGroup.of_rewards((1.0, 1.0, 1.0, 0.0, 0.0, 0.0), lengths_G=(12, 8, 11, 9, 4, 8))
    assert ShortestVersusLonger(limit=8).pairs(group) == [(1, 0), (1, 3)]
    assert ShortestVersusLonger().pairs(group) == [(1, 0)]
    assert ShortestVersusLonger(limit=8, times=1.25).pairs(group) == [(1, 0), (1, 2), (1, 3)]


@pytest.mark.parametrize("rewards", [(), (0.0, 0.0), (1.0, 1.0)])
def test_without_a_right_one_and_a_longer_one_there_is_nothing_to_shorten(rewards):
    assert ShortestVersusLonger().pairs(GradedGroup.of_rewards(rewards)) == []


@pytest.mark.parametrize("selection", [CorrectVersusWrong, ShortestVersusLonger])
def test_both_select_pairs_and_at_least_one(selection):
    assert isinstance(selection(), PairSelection)
    with pytest.raises(ValueError, match=r"limit=0.*take at least 1"):
        selection(limit=0)


@pytest.mark.parametrize("times", [1.0, 0.0, float("nan"), float("inf")])
def test_a_factor_that_does_not_mean_longer_is_refused(times):
    with pytest.raises(ValueError, match=rf"times={times}.*take"):
        ShortestVersusLonger(times=times)
