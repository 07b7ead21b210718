import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.advantages.base import Episode, TokenAdvantage
from rlvr.advantages.reinforce_pp import ReinforcePp, ReinforcePpBaseline, rewards_to_go
from rlvr.types import GradedGroup

# Eight rollouts with rewards 1, 0, 0, 1, 0, 0, 0, 1, less 0.05 of k1 per token.
REWARDS_T = [
    [-0.005, 1.01],
    [0.0, -0.015, -0.005, 0.005],
    [-0.01, 0.0, 0.005],
    [-0.005, -0.005, 0.015, -0.01, 1.0],
    [-0.02],
    [0.0, 0.0, -0.005, -0.01, 0.01],
    [-0.015, 0.005, -0.005],
    [0.0, 0.995],
]
ADVANTAGES_T = [
    [1.3175323464, 1.3277016297],
    [-0.75700145, -0.75700145, -0.7264936001, -0.7163243168],
    [-0.7366628834, -0.7163243168, -0.7163243168],
    [1.2971937798, 1.3073630631, 1.3175323464, 1.2870244964, 1.3073630631],
    [-0.7671707333],
    [-0.7366628834, -0.7366628834, -0.7366628834, -0.7264936001, -0.7061550334],
    [-0.75700145, -0.7264936001, -0.7366628834],
    [1.2971937798, 1.2971937798],
]


def group_of(rewards, lengths):
    return GradedGroup.of_rewards(rewards, lengths_G=lengths)


def test_whitens_the_reward_from_each_token_on_over_all_tokens():
    credits = ReinforcePp().over_tokens([Episode(rewards_T=row) for row in REWARDS_T])
    for credit, expected in zip(credits, ADVANTAGES_T, strict=True):
        assert credit.advantages_T == pytest.approx(expected, abs=1e-9)
        assert credit.returns_T is None


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [(1.0, [1.0, 2.0, 4.0]), (0.5, [-1.0, 0.0, 4.0]), (0.0, [-1.0, -2.0, 4.0])],
)
def test_the_discount_is_of_what_follows(gamma, expected):
    assert rewards_to_go([-1.0, -2.0, 4.0], gamma=gamma) == expected


def test_rewards_that_are_all_equal_and_at_the_end_train_nothing():
    episodes = [Episode(rewards_T=[0.0] * n + [0.1]) for n in (0, 3, 7)]
    for credit in ReinforcePp().over_tokens(episodes):
        assert not any(credit.advantages_T)


def test_a_batch_of_one_token_trains_nothing():
    (credit,) = ReinforcePp().over_tokens([Episode(rewards_T=[1.0])])
    assert credit.advantages_T.tolist() == [0.0]


def test_it_needs_no_critic():
    assert isinstance(ReinforcePp(), TokenAdvantage)
    assert not ReinforcePp().needs_values


@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan")])
def test_a_discount_that_is_none_is_refused(gamma):
    with pytest.raises(ValueError, match=rf"gamma={gamma}.*take"):
        ReinforcePp(gamma=gamma)


def test_with_a_baseline_the_groups_mean_is_taken_off_first():
    groups = [
        group_of((1.0, 0.0), (1, 3)),  # +1/2 once, -1/2 three times
        group_of((1.0, 0.0, 0.0, 0.0), (2, 1, 1, 1)),  # +3/4 twice, -1/4 three times
    ]
    tokens = [0.5, -0.5, -0.5, -0.5, 0.75, 0.75, -0.25, -0.25, -0.25]
    mean = sum(tokens) / 9
    variance = sum((x - mean) ** 2 for x in tokens) / 8
    first, second = (
        [(x - mean) / (variance + 1e-8) ** 0.5 for x in row]
        for row in ([0.5, -0.5], [0.75, -0.25, -0.25, -0.25])
    )
    advantages = ReinforcePpBaseline().over_batch(groups)
    assert advantages[0] == pytest.approx(first, abs=1e-12)
    assert advantages[1] == pytest.approx(second, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    rollouts=st.lists(
        st.tuples(st.integers(0, 4), st.integers(1, 6)), min_size=2, max_size=8
    ).filter(lambda rollouts: len({reward for reward, _ in rollouts}) > 1)
)
def test_within_one_group_the_baseline_cancels_in_the_whitening(rollouts):
    rewards, lengths = [float(r) for r, _ in rollouts], [length for _, length in rollouts]
    episodes = [Episode(rewards_T=[0.0] * (n - 1) + [float(r)]) for r, n in rollouts]
    by_token = [credit.advantages_T[0] for credit in ReinforcePp().over_tokens(episodes)]
    assert ReinforcePpBaseline()(group_of(rewards, lengths)) == pytest.approx(by_token, abs=1e-9)
