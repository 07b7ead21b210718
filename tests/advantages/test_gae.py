import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.advantages.base import Episode, TokenAdvantage
from rlvr.advantages.gae import Gae, gae
from rlvr.advantages.reinforce_pp import rewards_to_go

REWARDS = [0.0, 0.0, 0.0, 0.0, 1.0]
VALUES = [0.3, 0.25, 0.5, 0.4, 0.8]
NAN = float("nan")

NUMBERS = st.integers(-8, 8).map(lambda step: step / 8)
TOKENS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8)
SHARES = st.sampled_from([0.0, 0.5, 0.95, 1.0])


@pytest.mark.parametrize(
    ("lam", "advantages", "returns"),
    [
        (0.95, [0.60310125, 0.687475, 0.4605, 0.59, 0.2], [0.90310125, 0.937475, 0.9605, 0.99, 1]),
        (1.0, [0.7, 0.75, 0.5, 0.6, 0.2], [1.0] * 5),
        (0.0, [-0.05, 0.25, -0.1, 0.4, 0.2], [0.25, 0.5, 0.4, 0.8, 1.0]),
    ],
)
def test_by_hand(lam, advantages, returns):
    found = gae(REWARDS, VALUES, gamma=1.0, lam=lam)
    assert found[0] == pytest.approx(advantages, abs=1e-12)
    assert found[1] == pytest.approx(returns, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(tokens=TOKENS, gamma=SHARES)
def test_with_lambda_one_it_is_the_reward_from_there_on_less_the_value(tokens, gamma):
    rewards, values = zip(*tokens, strict=True)
    advantages, returns = gae(rewards, values, gamma=gamma, lam=1.0)
    to_go = rewards_to_go(rewards, gamma=gamma)
    assert returns == pytest.approx(to_go, abs=1e-12)
    assert advantages == pytest.approx(
        [g - v for g, v in zip(to_go, values, strict=True)], abs=1e-12
    )


@settings(max_examples=50, deadline=None)
@given(tokens=TOKENS, gamma=SHARES)
def test_with_lambda_zero_it_is_what_one_token_surprises_the_critic_by(tokens, gamma):
    rewards, values = zip(*tokens, strict=True)
    following = [*values[1:], 0.0]
    deltas = [r + gamma * n - v for r, n, v in zip(rewards, following, values, strict=True)]
    assert gae(rewards, values, gamma=gamma, lam=0.0)[0] == pytest.approx(deltas, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    tokens=st.lists(st.tuples(NUMBERS, NUMBERS, st.booleans()), min_size=1, max_size=9),
    gamma=SHARES,
    lam=SHARES,
)
def test_tokens_outside_the_mask_are_as_if_they_were_not_there(tokens, gamma, lam):
    mask = [chosen for _, _, chosen in tokens]
    rewards = [reward if chosen else NAN for reward, _, chosen in tokens]
    values = [value if chosen else NAN for _, value, chosen in tokens]
    found = gae(rewards, values, gamma=gamma, lam=lam, mask_T=mask)
    compact = gae(
        [reward for reward, chosen in zip(rewards, mask, strict=True) if chosen],
        [value for value, chosen in zip(values, mask, strict=True) if chosen],
        gamma=gamma,
        lam=lam,
    )
    for whole, short in zip(found, compact, strict=True):
        assert [x for x, chosen in zip(whole, mask, strict=True) if chosen] == short
        assert all(x == 0.0 for x, chosen in zip(whole, mask, strict=True) if not chosen)


def test_rewards_and_values_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"5 rewards with 4 values.*give each token one"):
        gae(REWARDS, VALUES[1:], gamma=1.0, lam=1.0)
    with pytest.raises(ValueError, match="mask of 4: give each token one"):
        gae(REWARDS, VALUES, gamma=1.0, lam=1.0, mask_T=[True] * 4)
    episodes = [
        Episode(rewards_T=[0.0, 1.0], values_T=[0.5, 0.25]),
        Episode(rewards_T=[0.0, 1.0, 2.0], values_T=[0.5]),
    ]
    with pytest.raises(ValueError, match=r"3 rewards with 1 values.*give each token one"):
        Gae().over_tokens(episodes)


def step_by_step(rewards, values, *, gamma, lam):
    """As the paper writes it: the discounted sum of what each later token surprises by."""
    following = [*values[1:], 0.0]
    deltas = [r + gamma * n - v for r, n, v in zip(rewards, following, values, strict=True)]
    return [
        sum((gamma * lam) ** (later - t) * deltas[later] for later in range(t, len(deltas)))
        for t in range(len(deltas))
    ]


@settings(max_examples=50, deadline=None)
@given(batch=st.lists(TOKENS, max_size=6), gamma=SHARES, lams=st.tuples(SHARES, SHARES))
def test_episodes_of_all_lengths_are_estimated_each_on_its_own(batch, gamma, lams):
    rows = [tuple(zip(*tokens, strict=True)) for tokens in batch]
    estimator = Gae(gamma=gamma, lambda_actor=lams[0], lambda_critic=lams[1])
    credits = estimator.over_tokens([Episode(rewards_T=r, values_T=v) for r, v in rows])
    for (rewards, values), credit in zip(rows, credits, strict=True):
        actor, critic = (step_by_step(rewards, values, gamma=gamma, lam=lam) for lam in lams)
        assert credit.advantages_T == pytest.approx(actor, abs=1e-12)
        targets = [a + v for a, v in zip(critic, values, strict=True)]
        assert credit.returns_T == pytest.approx(targets, abs=1e-12)


def test_the_policys_lambda_does_not_reach_the_critics_targets():
    (credit,) = Gae().over_tokens([Episode(rewards_T=REWARDS, values_T=VALUES)])
    assert credit.advantages_T == pytest.approx([0.60310125, 0.687475, 0.4605, 0.59, 0.2])
    assert credit.returns_T == pytest.approx([1.0] * 5, abs=1e-12)


def test_equal_lambdas_share_one_estimate():
    ppo = Gae(lambda_actor=0.95, lambda_critic=0.95)
    (credit,) = ppo.over_tokens([Episode(rewards_T=REWARDS, values_T=VALUES)])
    alone = gae(REWARDS, VALUES, gamma=1.0, lam=0.95)
    assert (credit.advantages_T.tolist(), credit.returns_T.tolist()) == alone


def test_whitening_is_over_all_tokens_of_the_batch_and_leaves_the_returns():
    episodes = [
        Episode(rewards_T=REWARDS, values_T=VALUES),
        Episode(rewards_T=[0.0, -1.0], values_T=[0.5, 0.125]),
    ]
    plain, white = Gae().over_tokens(episodes), Gae(whiten=True).over_tokens(episodes)
    before = [a for credit in plain for a in credit.advantages_T]
    after = [a for credit in white for a in credit.advantages_T]
    scale = math.sqrt(statistics.variance(before) + 1e-8)
    mean = statistics.fmean(before)
    assert after == pytest.approx([(a - mean) / scale for a in before], abs=1e-12)
    assert [credit.returns_T for credit in white] == [credit.returns_T for credit in plain]


def test_a_critic_that_knows_every_reward_leaves_nothing_to_learn():
    (credit,) = Gae(whiten=True).over_tokens([Episode(rewards_T=[0.0, 1.0], values_T=[1.0, 1.0])])
    assert credit.advantages_T.tolist() == [0.0, 0.0]


def test_it_asks_for_a_critic_and_says_so_where_there_is_none():
    assert isinstance(Gae(), TokenAdvantage)
    assert Gae().needs_values
    with pytest.raises(ValueError, match=r"values_T=None.*train with a critic"):
        Gae().over_tokens([Episode(rewards_T=REWARDS)])


@pytest.mark.parametrize("name", ["gamma", "lambda_actor", "lambda_critic"])
@pytest.mark.parametrize("share", [-0.01, 1.01, NAN])
def test_a_share_that_is_none_is_refused(name, share):
    with pytest.raises(ValueError, match=rf"{name}={share}.*take"):
        Gae(**{name: share})
