import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.advantages.base import Stateful
from rlvr.advantages.reward_kl import RewardKl, kl_estimate

LOGPROBS = [-0.5, -1.2, -0.3, -2.0, -0.7, -0.9, -1.1]
REFERENCE = [-0.8, -1.0, -0.3, -1.5, -0.6, -1.0, -1.2]


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("k1", [0.3, -0.2, 0.0, -0.5, -0.1, 0.1, 0.1]),
        ("k2", [0.045, 0.02, 0.0, 0.125, 0.005, 0.005, 0.005]),
        (
            "k3",
            [
                *[0.0408182207, 0.0214027582, 0.0, 0.1487212707],
                *[0.0051709181, 0.004837418, 0.004837418],
            ],
        ),
        ("abs", [0.3, 0.2, 0.0, 0.5, 0.1, 0.1, 0.1]),
    ],
)
def test_a_token_pays_what_the_estimator_says(estimator, expected):
    penalty = RewardKl(coef=0.05, estimator=estimator)
    expected = [0.05 * k for k in expected]
    assert penalty.penalties(LOGPROBS, REFERENCE) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_on_average_it_is_the_divergence(estimator):
    policy, reference = (0.2, 0.5, 0.3), (0.6, 0.3, 0.1)
    divergence = sum(p * math.log(p / q) for p, q in zip(policy, reference, strict=True))
    mean = sum(
        p * kl_estimate(math.log(p), math.log(q), estimator=estimator)
        for p, q in zip(policy, reference, strict=True)
    )
    assert mean == pytest.approx(divergence, abs=1e-12)


@pytest.mark.parametrize("estimator", ["k2", "k3", "abs"])
@settings(max_examples=50, deadline=None)
@given(logprob=st.floats(-50, 0), reference=st.floats(-50, 0))
def test_these_are_never_negative(estimator, logprob, reference):
    assert kl_estimate(logprob, reference, estimator=estimator) >= 0


def test_k3_of_a_token_the_policy_had_given_up_is_bounded():
    assert kl_estimate(-30.0, -1.0, estimator="k3") == 10.0
    assert kl_estimate(-1.0, -1000.0, estimator="k3") == 10.0


def test_the_coefficient_follows_the_target_by_a_fifth_at_most():
    penalty = RewardKl(coef=0.1, target=0.5, horizon=1000)
    for kl, expected in [
        (0.55, 0.1 * 1.01),  # a tenth above, times 100 of 1000
        (5.0, 0.1 * 1.01 * 1.02),
        (0.0, 0.1 * 1.01 * 1.02 * 0.98),
        (0.5, 0.1 * 1.01 * 1.02 * 0.98),
    ]:
        penalty.observe(kl, 100)
        assert penalty.coef == pytest.approx(expected, abs=1e-12)
    assert penalty.penalties([0.0], [-1.0]).tolist() == [penalty.coef]


def test_without_a_target_the_coefficient_stays():
    penalty = RewardKl(coef=0.1)
    penalty.observe(99.0, 100)
    penalty.load_state_dict({"coef": 0.7})
    assert penalty.coef == 0.1
    assert penalty.state_dict() == {}


def test_a_resumed_controller_goes_on_where_it_was():
    stopped = RewardKl(coef=0.1, target=0.5)
    assert isinstance(stopped, Stateful)
    stopped.observe(5.0, 512)
    resumed = RewardKl(coef=0.1, target=0.5)
    resumed.load_state_dict(stopped.state_dict())
    assert resumed.coef == stopped.coef > 0.1


@pytest.mark.parametrize(
    ("kl", "samples", "says"),
    [(float("nan"), 8, "kl=nan"), (0.1, 501, "samples=501 with horizon=100: .*at least 101")],
)
def test_an_observation_that_would_ruin_the_coefficient_is_refused(kl, samples, says):
    penalty = RewardKl(coef=0.1, target=0.5, horizon=100)
    with pytest.raises(ValueError, match=says):
        penalty.observe(kl, samples)
    assert penalty.coef == 0.1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"coef": -0.1}, "coef=-0.1"),
        ({"coef": float("nan")}, "coef=nan"),
        ({"coef": 0.1, "estimator": "k4"}, "estimator='k4'"),
        ({"coef": 0.1, "target": 0.0}, "target=0.0"),
        ({"coef": 0.1, "target": float("nan")}, "target=nan"),
        ({"coef": 0.0, "target": 0.1}, "coef=0.0 with target=0.1"),
        ({"coef": 0.1, "horizon": 0}, "horizon=0"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(settings, says):
    with pytest.raises(ValueError, match=f"{says}.*take"):
        RewardKl(**settings)


def test_log_probs_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"2 log-probs of the policy with 1.*give each token"):
        RewardKl(coef=0.1).penalties([0.0, 0.0], [0.0])


def test_taken_off_the_rewards_it_makes_those_of_reinforce_pp():
    paid = RewardKl(coef=0.05).penalties([-0.5, -0.2], [-0.6, 0.0])
    rewards_T = [reward - penalty for reward, penalty in zip([0.0, 1.0], paid, strict=True)]
    assert rewards_T == pytest.approx([-0.005, 1.01], abs=1e-12)
