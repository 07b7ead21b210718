import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.advantages.base import Episode, TokenAdvantage
from rlvr.advantages.step_mc import StepMonteCarlo


def by_token(values, rewards_T):
    episode = Episode(rewards_T=rewards_T, prefix_values=values)
    (credit,) = StepMonteCarlo().over_tokens([episode])
    assert credit.returns_T is None
    return credit.advantages_T


def test_each_token_gets_what_its_step_changes():
    values = ((0, 0.5), (2, 0.75), (3, 0.25))
    rewards_T = [0.0, 0.0, 0.0, 0.0, 1.0]
    assert by_token(values, rewards_T) == [0.25, 0.25, -0.5, 0.75, 0.75]


def test_the_last_step_ends_with_the_value_of_the_whole_completion_where_there_is_one():
    assert by_token(((0, 0.5), (2, 0.75), (3, 0.25)), [0.0, 0.0, 1.0]) == [0.25, 0.25, -0.5]


def test_a_right_step_keeps_its_credit_in_a_wrong_rollout():
    assert by_token(((0, 0.25), (1, 1.0)), [0.0, 0.0]) == [0.75, -1.0]


def test_with_the_prompt_alone_it_is_the_reward_less_the_success_rate():
    assert by_token(((0, 0.25),), [0.0, 0.0, 1.0]) == [0.75] * 3


@settings(max_examples=50, deadline=None)
@given(
    rates=st.lists(st.integers(0, 8).map(lambda step: step / 8), min_size=1, max_size=6),
    gaps=st.lists(st.integers(1, 3), min_size=6, max_size=6),
    reward=st.sampled_from([0.0, 1.0]),
)
def test_over_its_steps_a_rollout_gains_its_reward_less_where_it_began(rates, gaps, reward):
    ends = [sum(gaps[:k]) for k in range(len(rates))]
    rewards_T = [0.0] * ends[-1] + [reward]
    advantages = by_token(tuple(zip(ends, rates, strict=True)), rewards_T)
    assert len(advantages) == len(rewards_T)
    assert sum(advantages[begin] for begin in ends) == pytest.approx(reward - rates[0])


def test_a_rollout_that_was_not_probed_gets_zeros():
    assert by_token((), [0.0, 1.0]) == [0.0, 0.0]


@pytest.mark.parametrize(
    "values",
    [((1, 0.5),), ((0, 0.5), (0, 0.5)), ((0, 0.5), (2, 0.5), (1, 0.5)), ((0, 0.5), (4, 0.5))],
)
def test_prefixes_that_are_none_of_the_completion_are_refused(values):
    with pytest.raises(ValueError, match=r"prefixes of .* in a completion of 3: take ascending"):
        by_token(values, [0.0, 0.0, 1.0])


def test_it_needs_prefixes_and_no_critic():
    assert isinstance(StepMonteCarlo(), TokenAdvantage)
    assert StepMonteCarlo().needs_prefix_values
    assert not StepMonteCarlo().needs_values
