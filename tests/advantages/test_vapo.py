import pytest

from rlvr.advantages.base import Episode, TokenAdvantage
from rlvr.advantages.gae import gae
from rlvr.advantages.vapo import LengthAdaptiveGae, length_adaptive_lambda


@pytest.mark.parametrize(
    ("tokens", "lam"), [(40, 0.5), (100, 0.8), (400, 0.95), (2000, 0.99), (20000, 0.999)]
)
def test_lambda_comes_closer_to_one_with_the_length(tokens, lam):
    assert length_adaptive_lambda(tokens) == pytest.approx(lam, abs=1e-12)


@pytest.mark.parametrize("tokens", [1, 19, 20])
def test_a_short_completion_looks_no_further_than_one_token(tokens):
    assert length_adaptive_lambda(tokens) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("tokens", [0, -3])
def test_a_completion_of_no_tokens_has_no_lambda(tokens):
    with pytest.raises(ValueError, match=rf"tokens={tokens}.*take 1 or more"):
        length_adaptive_lambda(tokens)


@pytest.mark.parametrize("tokens", [30, 400, 5000])
def test_the_weights_of_what_follows_add_up_to_a_share_of_the_length(tokens):
    assert 1 / (1 - length_adaptive_lambda(tokens, alpha=0.5)) == pytest.approx(0.5 * tokens)


def test_each_episode_has_the_lambda_of_its_own_length():
    episodes = [
        Episode(rewards_T=[0.0] * (n - 1) + [1.0], values_T=[i / n for i in range(n)])
        for n in (2, 4, 8)
    ]
    credits = LengthAdaptiveGae(alpha=0.5).over_tokens(episodes)
    for credit, episode, lam in zip(credits, episodes, (0.0, 0.5, 0.75), strict=True):
        advantages, _ = gae(episode.rewards_T, episode.values_T, gamma=1.0, lam=lam)
        assert credit.advantages_T == pytest.approx(advantages, abs=1e-12)
        assert credit.returns_T == pytest.approx([1.0] * len(episode.rewards_T), abs=1e-12)


def test_whitening_is_a_choice():
    episodes = [Episode(rewards_T=[0.0, 1.0], values_T=[0.5, 0.25])]
    (credit,) = LengthAdaptiveGae(whiten=True).over_tokens(episodes)
    assert sum(credit.advantages_T) == pytest.approx(0.0, abs=1e-12)
    (credit,) = LengthAdaptiveGae().over_tokens(episodes)
    assert credit.advantages_T.tolist() == [-0.25, 0.75]


def test_it_asks_for_a_critic():
    assert isinstance(LengthAdaptiveGae(), TokenAdvantage)
    assert LengthAdaptiveGae().needs_values
    with pytest.raises(ValueError, match="values_T=None"):
        LengthAdaptiveGae().over_tokens([Episode(rewards_T=[1.0])])


@pytest.mark.parametrize(
    "settings", [{"alpha": 0.0}, {"alpha": float("nan")}, {"gamma": 2.0}, {"lambda_critic": -1.0}]
)
def test_a_setting_that_means_nothing_is_refused(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=rf"{name}={value}.*take"):
        LengthAdaptiveGae(**settings)
