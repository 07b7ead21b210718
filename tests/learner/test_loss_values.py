"""Each token-local loss by hand: values, gradients and what its metrics count."""

import math

import pytest
import torch

from rlvr.learner.losses.cispo import Cispo, TwoSidedCispo
from rlvr.learner.losses.decoupled import Decoupled, log_linear_proximal
from rlvr.learner.losses.dppo import DppoKl, DppoTv, kl_keep, tv_keep
from rlvr.learner.losses.dro import Dro
from rlvr.learner.losses.nft import Nft
from rlvr.learner.losses.nll import PositiveNll
from rlvr.learner.losses.prime_rl import PrimeRl
from rlvr.learner.losses.reinforce import Reinforce
from rlvr.learner.losses.sapo import Sapo
from rlvr.learner.losses.topr import TokenTopr
from tests.learner.loss_cases import (
    ADVANTAGES,
    BEHAVIOUR,
    LOGPROBS,
    SAMPLED,
    gradient,
    inputs,
    mean,
)


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


@pytest.mark.parametrize(("cap", "loss"), [(2.0, 0.1897591189), (1.2, 0.2207484750)])
def test_reinforce_weighs_against_the_sampler_wherever_the_step_starts(cap, loss):
    one = inputs(LOGPROBS, BEHAVIOUR, ADVANTAGES, proximal=SAMPLED)
    output, slopes = gradient(Reinforce(weight_cap=cap), one)
    # exp of 0.22, 0, 0, -1, -0.02, 0.55 and -0.3.
    ratios = [1.2460767306, 1.0, 1.0, 0.3678794412, 0.9801986733, 1.7332530179, 0.7408182207]
    pushes = [-min(r, cap) * a / 7 for r, a in zip(ratios, ADVANTAGES, strict=True)]
    assert slopes == pytest.approx(pushes, abs=1e-10)
    assert output.loss.item() == pytest.approx(loss, abs=1e-9)
    assert mean(output, "actor/pg_clipfrac") == pytest.approx((2 if cap == 1.2 else 0) / 7)
    assert mean(output, "actor/ratio_mean") == pytest.approx(sum(ratios) / 7)


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


def test_nll_of_the_correct_has_its_own_denominator_and_ignores_advantages():
    advantages = [-0.5] * 4 + [0.5] * 3
    correct_weights = [1 / 4] * 4 + [0.0] * 3
    loss = PositiveNll(of="correct", coef=0.1)
    one = inputs(LOGPROBS, SAMPLED, advantages, correct_weights=correct_weights)
    output, slopes = gradient(loss, one)
    assert output.loss.item() == pytest.approx(0.1 * 4.0 / 4)
    assert slopes == pytest.approx([-0.1 / 4] * 4 + [0.0] * 3)
    assert mean(output, "actor/nll") == pytest.approx(1.0)
    assert mean(output, "actor/positive_share") == pytest.approx(4 / 7)


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


def test_the_trust_regions_of_dppo_are_masks_of_plain_tensors():
    trained = torch.tensor([0.5, 0.3, 0.5, 0.3, 0.4, 0.25, 0.5], dtype=torch.float64)
    sampled = torch.tensor([0.3, 0.5, 0.3, 0.5, 0.3, 0.5, 0.3], dtype=torch.float64)
    advantages = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0, -2.0, 0.0], dtype=torch.float64)
    # Changes of 0.2, -0.2, 0.2, -0.2, 0.1, -0.25 and 0.2.
    pair = (trained.log(), sampled.log(), advantages)
    kept = tv_keep(*pair, max_rise=0.15, max_fall=0.15)
    assert kept.tolist() == [False, False, True, True, True, False, True]
    assert tv_keep(*pair, max_rise=0.05, max_fall=0.22).tolist() == [
        *(False, True, True, True, False, False, True)
    ]
    # 0.0823, 0.0872, 0.0823, 0.0872, 0.0216, 0.1438 and 0.0823 nats.
    kept = kl_keep(*pair, max_kl=0.085)
    assert kept.tolist() == [True, False, True, True, True, False, True]
    assert kl_keep(*pair, max_kl=0.02).tolist() == [*(False, False, True, True, False, False, True)]


def test_dppo_keeps_a_token_that_was_certain_and_stays_so():
    output, slopes = gradient(DppoKl(), inputs([0.0], [-1e-9], [1.0]))
    assert slopes == pytest.approx([-1.0])
    assert mean(output, "actor/pg_dropfrac") == 0.0


def test_dppo_stays_around_the_sampler_where_the_step_starts_elsewhere():
    # From 0.3 to 0.5 of the sampler, though the step itself went from 0.55 to 0.5.
    far = inputs([math.log(0.5)], [math.log(0.3)], [1.0], proximal=[math.log(0.55)])
    near = inputs([math.log(0.35)], [math.log(0.3)], [1.0], proximal=[math.log(0.55)])
    for loss in (DppoTv(), DppoKl()):
        assert gradient(loss, far)[1] == [0.0]
        assert gradient(loss, near)[1] == pytest.approx([-0.35 / 0.3])
        far.logprobs_T.grad = near.logprobs_T.grad = None


@pytest.mark.parametrize(
    ("trained", "sampled", "advantage", "kept"),
    [
        (0.5, 0.4, +2.0, True),
        (0.7, 0.4, +2.0, False),  # rose by 0.3
        (0.7, 0.4, -2.0, True),
        (0.1, 0.4, -2.0, False),  # fell by 0.3
        (0.1, 0.4, +2.0, True),
    ],
)
def test_prime_rl_pulls_every_token_and_drops_what_went_too_far(trained, sampled, advantage, kept):
    ratio, distance = trained / sampled, math.log(trained / sampled)
    loss = PrimeRl(tau=0.25)
    output, slope = one_token(loss, trained=trained, sampled=sampled, advantage=advantage)
    gain = advantage * ratio if kept else 0.0
    assert output.loss.item() == pytest.approx(-gain + 0.25 * distance**2)
    assert slope == pytest.approx(-gain + 0.5 * distance)
    assert mean(output, "actor/pg_dropfrac") == (not kept)


def test_prime_rl_has_a_bound_for_each_direction():
    rose = {"trained": 0.65, "sampled": 0.4, "advantage": 1.0}
    fell = {"trained": 0.15, "sampled": 0.4, "advantage": -1.0}
    for case, bound in ((rose, "max_rise"), (fell, "max_fall")):
        for value, dropped in ((0.24, 1.0), (0.26, 0.0)):
            output, _ = one_token(PrimeRl(**{bound: value}), **case)
            assert mean(output, "actor/pg_dropfrac") == (dropped if value < 0.25 else 0.0)


def test_prime_rl_of_a_batch_is_a_sum_over_tokens():
    one = inputs(LOGPROBS, SAMPLED, ADVANTAGES, weights=[1.0] * 7)
    output, slopes = gradient(PrimeRl(max_fall=0.1, max_rise=0.1, tau=0.5), one)
    # exp(-0.5) - exp(-0.7) = 0.1099 and exp(-1.1) - exp(-0.8) = -0.1165: dropped.
    ratios = [0.0, math.exp(0.05), math.exp(-0.05), math.exp(-0.6), 1.0, math.exp(0.4), 0.0]
    gains = [a * r for a, r in zip(ADVANTAGES, ratios, strict=True)]
    distances = [0.2, 0.05, -0.05, -0.6, 0.0, 0.4, -0.3]
    pull = 0.5 * sum(d * d for d in distances)
    assert output.loss.item() == pytest.approx(pull - sum(gains))
    expected = [-gain + d for gain, d in zip(gains, distances, strict=True)]
    assert slopes == pytest.approx(expected, abs=1e-12)


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


@pytest.mark.parametrize(("normalize", "scale"), [("none", 1.0), ("grpo", math.sqrt(3.0))])
def test_nft_weights_a_problem_by_its_pass_rate(normalize, scale):
    one = inputs(LOGPROBS, SAMPLED, NFT_ADVANTAGES, weights=NFT_WEIGHTS)
    output, slopes = gradient(Nft(normalize=normalize), one)
    # Right: -log r. Wrong, p = 1/4: -log max((4 - r) / 3, 1), of ratios 1, 1.49182 and 0.740818.
    right = -(0.2 + 0.05 - 0.05 - 0.6)
    wrong = -math.log((4 - math.exp(-0.3)) / 3)
    assert output.loss.item() == pytest.approx(scale * (right + wrong) / 1000, abs=1e-12)
    proxies = [1.0, 1.0, (4 - math.exp(-0.3)) / 3]
    ratios = [1.0, math.exp(0.4), math.exp(-0.3)]
    unlearnt = [r / 3 / proxy for r, proxy in zip(ratios, proxies, strict=True)]
    expected = [scale * slope / 1000 for slope in [-1.0] * 4 + unlearnt]
    assert slopes == pytest.approx(expected, abs=1e-12)


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


DECOUPLED_SLOPES = [0.0, -0.1428571429, -0.1428571428, -0.0525542059]
DECOUPLED_SLOPES += [0.0700141909, 0.123803787, 0.0]


def test_decoupled_by_hand():
    output, slopes = gradient(
        Decoupled(), inputs(LOGPROBS, BEHAVIOUR, ADVANTAGES, proximal=SAMPLED)
    )
    assert output.loss.item() == pytest.approx(-0.2621993148, abs=1e-9)
    assert slopes == pytest.approx(DECOUPLED_SLOPES, abs=1e-9)
    weights = [1.02020134, 0.9512294245, 1.0512710964, 0.670320046, 0.9801986733, 1.1618342427, 1.0]
    assert mean(output, "actor/behaviour_weight") == pytest.approx(sum(weights) / 7)
    assert mean(output, "actor/behaviour_capped") == 0.0
    assert mean(output, "actor/pg_clipfrac") == pytest.approx(2 / 7)
    assert mean(output, "actor/ppo_kl") == pytest.approx(0.0428571429)


@pytest.mark.parametrize(("beyond_cap", "weight"), [("clamp", 1.1), ("mask", 0.0)])
def test_decoupled_bounds_its_weight_and_keeps_the_denominator(beyond_cap, weight):
    one = inputs(LOGPROBS, BEHAVIOUR, ADVANTAGES, proximal=SAMPLED)
    output, slopes = gradient(Decoupled(weight_cap=1.1, beyond_cap=beyond_cap), one)
    expected = DECOUPLED_SLOPES.copy()
    expected[5] *= weight / math.exp(0.15)
    assert slopes == pytest.approx(expected, abs=1e-9)
    assert mean(output, "actor/behaviour_capped") == pytest.approx(1 / 7)


def test_the_log_linear_proximal_lies_on_the_way_from_sampled_to_trained():
    trained, sampled = torch.tensor([-1.5] * 4), torch.tensor([-1.0] * 4)
    lag = torch.tensor([0, 1, 3, -1])
    got = log_linear_proximal(trained.double(), sampled.double(), lag).tolist()
    assert got == pytest.approx([-1.0, -1.25, -1.375, -1.0], abs=1e-12)


@pytest.mark.parametrize(
    ("behaviour", "proximal", "trained", "alpha"),
    [
        (5, 6, 7, 1 / 2),
        (3, 6, 7, 3 / 4),
        (3, 5, 9, 1 / 3),
        (6, 6, 6, 0.0),
        (4, 6, 6, 1.0),
        (7, 6, 8, 0.0),
    ],
)
def test_the_log_linear_proximal_by_versions(behaviour, proximal, trained, alpha):
    got = log_linear_proximal(
        torch.tensor([-2.0], dtype=torch.float64),
        torch.tensor([-1.0], dtype=torch.float64),
        torch.tensor([proximal - behaviour]),
        ahead=trained - proximal,
    )
    assert got.item() == pytest.approx(-1.0 - alpha, abs=1e-12)


def test_decoupled_by_interpolation_is_decoupled_from_what_it_interpolates():
    lag = [1.0, 3.0, 0.0, 1.0, 2.0, 1.0, 1.0]
    loss = Decoupled(proximal="log-linear")
    output, slopes = gradient(loss, inputs(LOGPROBS, BEHAVIOUR, ADVANTAGES, lag=lag))
    alphas = [n / (n + 1) for n in lag]
    between = [b + a * (p - b) for a, b, p in zip(alphas, BEHAVIOUR, LOGPROBS, strict=True)]
    one = inputs(LOGPROBS, BEHAVIOUR, ADVANTAGES, proximal=between)
    expected, expected_slopes = gradient(Decoupled(), one)
    assert output.loss.item() == pytest.approx(expected.loss.item(), abs=1e-12)
    assert slopes == pytest.approx(expected_slopes, abs=1e-12)
