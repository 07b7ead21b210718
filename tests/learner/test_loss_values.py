"""Each token-local loss by hand: values, gradients and what its metrics count."""

import math

import pytest

from rlvr.learner.losses.cispo import Cispo, TwoSidedCispo
from rlvr.learner.losses.dppo import DppoKl, DppoTv
from rlvr.learner.losses.dro import Dro
from rlvr.learner.losses.nft import Nft
from rlvr.learner.losses.nll import PositiveNll
from rlvr.learner.losses.reinforce import Reinforce
from rlvr.learner.losses.sapo import Sapo
from rlvr.learner.losses.topr import TokenTopr
from tests.learner.loss_cases import ADVANTAGES, LOGPROBS, SAMPLED, gradient, inputs, mean


def one_token(loss, *, trained, sampled, advantage):
    """Value and slope of one token, given by its probabilities."""
    one = inputs([math.log(trained)], [math.log(sampled)], [advantage])
    output, (slope,) = gradient(loss, one)
    return output, slope


def test_two_sided_cispo_clips_the_weight_and_keeps_every_gradient():
    output, slopes = gradient(TwoSidedCispo(), inputs(LOGPROBS, SAMPLED, ADVANTAGES))
    assert output.loss.item() == pytest.approx(0.3416565032, abs=1e-9)
    expected = [-0.1744861083, -0.1501815852, -0.1358899178, -0.1142857143]
    expected += [0.0714285714, 0.0914285714, 0.0571428571]
    assert slopes == pytest.approx(expected, abs=1e-9)
    assert mean(output, "actor/pg_clipfrac") == pytest.approx(3 / 7)
    assert mean(output, "actor/ppo_kl") == pytest.approx(0.0428571429)
    assert mean(output, "actor/entropy") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("trained", "sampled", "advantage", "slope"),
    [
        (0.6, 0.1, +1.0, -5.0),  # ratio 6: held at the cap itself, not at 1 + cap
        (0.4, 0.1, +1.0, -4.0),
        (0.1, 0.4, +1.0, -0.25),  # no bound from below
        (0.6, 0.1, -1.0, +5.0),
    ],
)
def test_cispo_caps_the_weight_from_above_alone(trained, sampled, advantage, slope):
    output, got = one_token(Cispo(), trained=trained, sampled=sampled, advantage=advantage)
    assert got == pytest.approx(slope)
    assert output.loss.item() == pytest.approx(slope * math.log(trained))
    assert mean(output, "actor/pg_clipfrac") == (abs(slope) == 5.0)


def test_reinforce_is_advantage_times_logprob_whatever_sampled_it():
    output, slopes = gradient(Reinforce(), inputs(LOGPROBS, SAMPLED, ADVANTAGES))
    # -(1 * (-0.5 - 1.2 - 0.3 - 2.0) - 0.5 * (-0.7 - 0.9 - 1.1)) / 7
    assert output.loss.item() == pytest.approx(2.65 / 7)
    assert slopes == pytest.approx([-1 / 7] * 4 + [0.5 / 7] * 3)
    ratios = [1.2214027582, 1.0512710964, 0.9512294245, 0.5488116361, 1, 1.4918246976, 0.7408182207]
    assert mean(output, "actor/ratio_mean") == pytest.approx(sum(ratios) / 7)


def test_reinforce_truncates_its_importance_weight():
    output, slopes = gradient(Reinforce(weight_cap=1.2), inputs(LOGPROBS, SAMPLED, ADVANTAGES))
    expected = [-1.2, -1.0512710964, -0.9512294245, -0.5488116361, 0.5, 0.6, 0.37040911]
    assert slopes == pytest.approx([slope / 7 for slope in expected], abs=1e-9)
    assert mean(output, "actor/pg_clipfrac") == pytest.approx(2 / 7)


def test_positive_nll_learns_from_the_positive_alone():
    advantages = [0.5] * 4 + [-0.5] * 3
    output, slopes = gradient(PositiveNll(), inputs(LOGPROBS, SAMPLED, advantages))
    assert output.loss.item() == pytest.approx(4.0 / 7)
    assert slopes == pytest.approx([-1 / 7] * 4 + [0.0] * 3)
    assert mean(output, "actor/nll") == pytest.approx(1.0)
    assert mean(output, "actor/positive_share") == pytest.approx(4 / 7)

    output, slopes = gradient(PositiveNll(by_advantage=True), inputs(LOGPROBS, SAMPLED, advantages))
    assert output.loss.item() == pytest.approx(2.0 / 7)
    assert slopes == pytest.approx([-0.5 / 7] * 4 + [0.0] * 3)


@pytest.mark.parametrize(
    ("trained", "advantage", "tau"), [(0.6, 2.0, 1.0), (0.2, 2.0, 1.0), (0.6, -2.0, 1.05)]
)
def test_sapo_closes_a_gate_on_both_sides_of_its_samples(trained, advantage, tau):
    ratio = trained / 0.4
    gate = 1 / (1 + math.exp(-tau * (ratio - 1)))
    output, slope = one_token(Sapo(), trained=trained, sampled=0.4, advantage=advantage)
    assert output.loss.item() == pytest.approx(-advantage * 4 / tau * gate)
    assert slope == pytest.approx(-advantage * 4 * gate * (1 - gate) * ratio)
    assert mean(output, "actor/gate_mean") == pytest.approx(4 * gate * (1 - gate))


def test_sapo_by_hand():
    output, _ = one_token(Sapo(), trained=0.6, sampled=0.4, advantage=2.0)
    assert output.loss.item() == pytest.approx(-8 * 0.6224593312)  # sigmoid(0.5)


@pytest.mark.parametrize(
    ("loss", "trained", "sampled", "advantage", "slope"),
    [
        (DppoTv(), 0.5, 0.3, +1.0, 0.0),  # rose by 0.2
        (DppoTv(), 0.3, 0.5, -1.0, 0.0),  # fell by 0.2
        (DppoTv(), 0.5, 0.3, -1.0, 5 / 3),  # rose, though it should fall
        (DppoTv(), 0.3, 0.5, +1.0, -0.6),  # fell, though it should rise
        (DppoTv(), 0.4, 0.3, +1.0, -4 / 3),  # rose by 0.1
        (DppoTv(), 0.01, 0.001, +1.0, -10.0),  # rare: a tenfold ratio, a small shift
        (DppoTv(), 0.1, 0.001, +1.0, -20.0),  # a hundredfold ratio: held at the cap
        (DppoKl(), 0.5, 0.3, +1.0, 0.0),  # 0.0823 nats
        (DppoKl(), 0.5, 0.3, -1.0, 5 / 3),
        (DppoKl(), 0.3, 0.5, -1.0, 0.0),  # 0.0872 nats
        (DppoKl(), 0.4, 0.3, +1.0, -4 / 3),  # 0.0216 nats
        (DppoKl(max_kl=0.02), 0.4, 0.3, +1.0, 0.0),
    ],
)
def test_dppo_drops_what_its_advantage_already_moved_too_far(
    loss, trained, sampled, advantage, slope
):
    output, got = one_token(loss, trained=trained, sampled=sampled, advantage=advantage)
    assert got == pytest.approx(slope)
    assert mean(output, "actor/pg_dropfrac") == (slope == 0.0)


def test_dppo_measures_the_divergence_from_the_sampler():
    # KL(0.3 || 0.5) = 0.3 log 0.6 + 0.7 log 1.4 = 0.08228; the other way round it is 0.08718.
    _, kept = one_token(DppoKl(max_kl=0.085), trained=0.5, sampled=0.3, advantage=1.0)
    assert kept == pytest.approx(-5 / 3)
    _, dropped = one_token(DppoKl(max_kl=0.082), trained=0.5, sampled=0.3, advantage=1.0)
    assert dropped == 0.0


def test_dppo_keeps_a_token_that_was_certain_and_stays_so():
    output, slopes = gradient(DppoKl(), inputs([0.0], [-1e-9], [1.0]))
    assert slopes == pytest.approx([-1.0])
    assert mean(output, "actor/pg_dropfrac") == 0.0


def test_topr_tapers_the_negative_tokens_alone():
    output, slopes = gradient(TokenTopr(), inputs(LOGPROBS, SAMPLED, ADVANTAGES))
    assert slopes == pytest.approx([-1 / 7] * 4 + [0.5 / 7, 0.5 / 7, 0.37040911 / 7], abs=1e-9)
    assert mean(output, "actor/pg_clipfrac") == pytest.approx(1 / 7)


def test_dro_pulls_each_token_to_its_advantage_over_beta():
    output, slopes = gradient(Dro(beta=0.5), inputs([-0.5], [-1.5], [2.0]))
    assert output.loss.item() == pytest.approx(2.0 * 0.5 + 0.25)
    assert slopes == pytest.approx([-2.0 + 0.5])
    _, at_rest = gradient(Dro(beta=2.0), inputs([-0.5], [-1.5], [2.0]))
    assert at_rest == pytest.approx([0.0])


NFT_ADVANTAGES = [0.75] * 4 + [-0.25] * 3
NFT_WEIGHTS = [0.001] * 7


def test_nft_by_hand():
    one = inputs(LOGPROBS, SAMPLED, NFT_ADVANTAGES, weights=NFT_WEIGHTS)
    output, slopes = gradient(Nft(), one)
    assert output.loss.item() == pytest.approx(0.0002378521, abs=1e-10)
    expected = [-0.00075] * 4 + [0.00025, 0.0003729562, 0.0001704764]
    assert slopes == pytest.approx(expected, abs=1e-10)
    assert mean(output, "actor/nft_floored") == pytest.approx(1 / 7)


@pytest.mark.parametrize(
    ("advantage", "value", "slope"),
    [
        (+0.75, 0.75 * math.log(9), -0.75),  # right: its likelihood, however far it fell
        (-0.75, -0.25 * math.log(11 / 3), 0.25 / 11),  # wrong: (1 - 0.75 / 9) / (1 - 0.75) is 11/3
    ],
)
def test_nft_of_one_token_that_fell_to_a_ninth(advantage, value, slope):
    output, got = one_token(Nft(), trained=0.1, sampled=0.9, advantage=advantage)
    assert output.loss.item() == pytest.approx(value)
    assert got == pytest.approx(slope)


def test_nft_without_negatives_trains_on_right_answers_alone():
    one = inputs(LOGPROBS, SAMPLED, NFT_ADVANTAGES, weights=NFT_WEIGHTS)
    _, slopes = gradient(Nft(negative_weight=0.0), one)
    assert slopes == pytest.approx([-0.00075] * 4 + [0.0] * 3)


def test_nft_takes_extreme_pass_rates_for_two_and_ninety_eight_percent():
    _, (right, wrong) = gradient(Nft(), inputs([-1.0] * 2, [-1.0] * 2, [0.999, -0.999]))
    assert (right, wrong) == (pytest.approx(-0.49), pytest.approx(0.49))


def test_nft_keeps_its_floor_exact_in_the_far_tail():
    output, _ = gradient(Nft(), inputs([0.0], [-10.0], [-0.9], weights=[1.0]))
    assert output.loss.item() == 0.0
