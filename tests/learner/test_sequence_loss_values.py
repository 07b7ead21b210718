"""Each loss on whole sequences by hand: values, gradients and what its metrics count."""

import math

import pytest
import torch

from rlvr.learner.losses.bcpg import BcpgNsa
from rlvr.learner.losses.dco import Dco
from rlvr.learner.losses.gmpo import Gmpo
from rlvr.learner.losses.gspo import Gspo
from rlvr.learner.losses.kimi import Kimi
from rlvr.learner.losses.topr import Topr
from rlvr.learner.losses.vespo import Vespo, gamma_weight
from tests.learner.loss_cases import (
    ADVANTAGES,
    BEHAVIOUR,
    LENGTHS,
    LOGPROBS,
    REFERENCE,
    SAMPLED,
    SEQUENCE_MEAN,
    SEQUENCE_SUM,
    gradient,
    inputs,
    mean,
)


def case(sampled=SAMPLED, advantages=ADVANTAGES, weights=SEQUENCE_MEAN, **given):
    return inputs(LOGPROBS, sampled, advantages, weights=weights, lengths=LENGTHS, **given)


def test_gspo_by_hand():
    output, slopes = gradient(Gspo(clip_low=0.2, clip_high=0.28), case())
    # Mean log-ratios -0.4 / 4 and 0.1 / 3: ratios 0.9048374 and 1.0338951.
    assert output.loss.item() == pytest.approx(-0.1939449306, abs=1e-9)
    assert slopes == pytest.approx([-0.1131046773] * 4 + [0.0861579261] * 3, abs=1e-9)
    assert mean(output, "actor/pg_clipfrac") == 0.0


@pytest.mark.parametrize(
    ("advantages", "value", "slopes", "clipped"),
    [
        # Fell though it should rise, rose though it should fall: nothing is clipped.
        (ADVANTAGES, -0.1939449306, [-0.1131046773] * 4 + [0.0861579261] * 3, 0.0),
        ([-1.0] * 4 + [0.5] * 3, (0.9997 - 0.5 * 1.0004) / 2, [0.0] * 7, 1.0),
    ],
)
def test_gspo_clips_whole_sequences_at_the_papers_bounds(advantages, value, slopes, clipped):
    output, got = gradient(Gspo(), case(advantages=advantages))
    assert output.loss.item() == pytest.approx(value, abs=1e-9)
    assert got == pytest.approx(slopes, abs=1e-9)
    assert mean(output, "actor/pg_clipfrac") == clipped


def test_gspo_leaves_each_token_its_own_credit():
    advantages = [1.0, 0.5, 0.0, 2.0, -0.5, -1.0, -0.5]
    _, slopes = gradient(Gspo(clip_low=0.5, clip_high=0.5), case(advantages=advantages))
    scales = [math.exp(-0.1) / 8] * 4 + [math.exp(0.1 / 3) / 6] * 3
    expected = [-a * scale for a, scale in zip(advantages, scales, strict=True)]
    assert slopes == pytest.approx(expected, abs=1e-12)


def test_gspo_bounds_the_log_ratio_at_ten():
    one = inputs([0.0], [-30.0], [-1.0], lengths=[1])
    output, slopes = gradient(Gspo(), one)
    assert output.loss.item() == pytest.approx(math.exp(10))
    assert slopes == [0.0]


def test_gmpo_by_hand():
    # Of the first, A > 0, h = min(d, 0.4): 0.2, 0.05, -0.05, -0.6, and none is clipped. Of the
    # second, A < 0, h = max(d, -0.4): 0, 0.4, -0.3.
    output, slopes = gradient(Gmpo(), case())
    first, second = math.exp(-0.4 / 4), math.exp(0.1 / 3)
    assert output.loss.item() == pytest.approx((-first + 0.5 * second) / 2, abs=1e-12)
    assert slopes == pytest.approx([-first / 8] * 4 + [0.5 * second / 6] * 3, abs=1e-12)
    assert mean(output, "actor/pg_clipfrac") == 0.0


def test_gmpo_clips_tokens_that_already_went_their_way():
    output, slopes = gradient(Gmpo(clip_low=0.1, clip_high=0.1), case())
    # The first's 0.2 is held at 0.1, its -0.6 is not; the second's -0.3 at -0.1, its 0.4 is not.
    first, second = math.exp((0.1 + 0.05 - 0.05 - 0.6) / 4), math.exp((0.0 + 0.4 - 0.1) / 3)
    assert output.loss.item() == pytest.approx((-first + 0.5 * second) / 2, abs=1e-12)
    expected = [0.0] + [-first / 8] * 3 + [0.5 * second / 6] * 2 + [0.0]
    assert slopes == pytest.approx(expected, abs=1e-12)
    assert mean(output, "actor/pg_clipfrac") == pytest.approx(2 / 7)


def test_gmpo_has_a_bound_for_each_direction_and_none_without_an_advantage():
    output, slopes = gradient(Gmpo(clip_low=0.1, clip_high=0.3), case())
    # The first's 0.2 is free now, the second's -0.3 is held.
    second = math.exp((0.0 + 0.4 - 0.1) / 3)
    expected = [-math.exp(-0.1) / 8] * 4 + [0.5 * second / 6] * 2 + [0.0]
    assert slopes == pytest.approx(expected, abs=1e-12)
    assert mean(output, "actor/pg_clipfrac") == pytest.approx(1 / 7)
    nothing, _ = gradient(Gmpo(), case(advantages=[0.0] * 7))
    assert mean(nothing, "actor/pg_clipfrac") == 0.0


def test_kimi_by_hand():
    one = case(advantages=[0.5] * 4 + [-0.5] * 3, weights=SEQUENCE_SUM)
    output, slopes = gradient(Kimi(tau=0.5), one)
    assert output.loss.item() == pytest.approx(0.34625, abs=1e-12)
    assert slopes == pytest.approx([-0.35] * 4 + [0.275] * 3, abs=1e-12)


def test_bcpg_by_hand():
    advantages = [0.5] * 4 + [-0.5, -0.25, -0.25]  # two tokens of the wrong answer were correct
    output, slopes = gradient(BcpgNsa(tau=0.5), case(advantages=advantages, reference=REFERENCE))
    # log p - log reference p: -4.0 + 3.6 and -2.7 + 2.8.
    first = (0.5 * -4.0 - 0.25 * 0.4**2) / 4
    second = (-0.5 * -0.7 - 0.25 * -0.9 - 0.25 * -1.1 - 0.25 * 0.1**2) / 3
    assert output.loss.item() == pytest.approx(-(first + second) / 2, abs=1e-12)
    expected = [-(0.5 + 0.5 * 0.4) / 8] * 4
    expected += [(0.5 + 0.05) / 6, (0.25 + 0.05) / 6, (0.25 + 0.05) / 6]
    assert slopes == pytest.approx(expected, abs=1e-12)


def test_bcpg_pulls_by_a_thousandth_unless_told_otherwise():
    at_zero = [0.0] * 7
    output, _ = gradient(BcpgNsa(), case(advantages=at_zero, reference=REFERENCE))
    assert output.loss.item() == pytest.approx(1e-3 / 2 * (0.16 / 4 + 0.01 / 3) / 2, abs=1e-15)


@pytest.mark.parametrize(
    ("weight", "k", "decay", "expected"),
    [
        (1.0, 2.0, 3.0, 1.0),
        (1.0, 3.0, 2.0, 1.0),
        (0.5, 2.0, 3.0, 0.25 * math.exp(1.5)),
        (2.0, 3.0, 2.0, 8 * math.exp(-2.0)),
        (0.0, 2.0, 3.0, 1e-16 * math.exp(3.0 - 3e-8)),  # held at 1e-8
        (1e30, 2.0, 3.0, 0.0),
    ],
)
def test_vespos_weight_by_hand(weight, k, decay, expected):
    log_weight = torch.tensor(weight, dtype=torch.float64).log()
    assert gamma_weight(log_weight, k, decay).item() == pytest.approx(expected, rel=1e-12)


def test_vespo_weighs_by_the_ratio_to_the_sampler():
    one = case(sampled=BEHAVIOUR, weights=[1 / 7] * 7, proximal=SAMPLED)
    output, slopes = gradient(Vespo(), one)
    # Log-ratios -4.0 + 3.22 and -2.7 + 2.93.
    first = math.exp(3 + 2 * -0.78 - 3 * math.exp(-0.78))
    second = math.exp(2 + 3 * 0.23 - 2 * math.exp(0.23))
    assert slopes == pytest.approx([-first / 7] * 4 + [0.5 * second / 7] * 3, abs=1e-12)
    assert output.loss.item() == pytest.approx((4.0 * first - 0.5 * 2.7 * second) / 7, abs=1e-12)
    assert mean(output, "actor/sequence_weight") == pytest.approx((4 * first + 3 * second) / 7)


PLUS_MINUS = [1.0] * 4 + [-1.0] * 3
MINUS_PLUS = [-1.0] * 4 + [1.0] * 3


def test_topr_by_hand():
    output, slopes = gradient(Topr(), case(sampled=BEHAVIOUR, advantages=PLUS_MINUS))
    # The wrong one's ratio is exp(0.23): held at 1.
    assert output.loss.item() == pytest.approx(0.05, abs=1e-12)
    assert slopes == pytest.approx([-0.125] * 4 + [1 / 6] * 3, abs=1e-12)
    assert mean(output, "actor/negative_weight") == 1.0


@pytest.mark.parametrize(
    ("ratio", "weight"), [("sequence", 0.4584060113), ("geometric", 0.8228346581)]
)
def test_topr_tapers_a_wrong_answer_by_the_ratio_of_all_of_it(ratio, weight):
    one = case(sampled=BEHAVIOUR, advantages=MINUS_PLUS, proximal=SAMPLED)
    output, slopes = gradient(Topr(ratio=ratio), one)
    assert slopes == pytest.approx([weight / 8] * 4 + [-1 / 6] * 3, abs=1e-9)
    assert output.loss.item() == pytest.approx(-weight * 4.0 / 8 + 2.7 / 6, abs=1e-9)
    assert mean(output, "actor/negative_weight") == pytest.approx(weight)


def test_topr_clips_each_sign_to_its_own_bounds():
    loss = Topr(positive_low=0.5, positive_high=1.1, negative_low=0.6, negative_high=2.0)
    _, slopes = gradient(loss, case(sampled=BEHAVIOUR, advantages=PLUS_MINUS))
    assert slopes == pytest.approx([-0.5 / 8] * 4 + [math.exp(0.23) / 6] * 3, abs=1e-12)
    _, slopes = gradient(loss, case(sampled=BEHAVIOUR, advantages=MINUS_PLUS))
    assert slopes == pytest.approx([0.6 / 8] * 4 + [-1.1 / 6] * 3, abs=1e-12)


def test_dco_by_hand():
    output, slopes = gradient(Dco(samples=4), case(weights=SEQUENCE_SUM))
    p = math.exp(-4.0)
    reached = 1 - (1 - p) ** 4
    assert output.loss.item() == pytest.approx(-math.log(reached) / 2, abs=1e-12)
    factor = 4 * (1 - p) ** 3 * p / reached
    assert slopes == pytest.approx([-factor / 2] * 4 + [0.0] * 3, abs=1e-12)
    assert mean(output, "actor/positive_share") == 0.5


def test_dco_of_an_improbable_answer_is_its_likelihood():
    one = inputs([-400.0, -600.0], [-1.0] * 2, [1.0] * 2, weights=[1.0] * 2, lengths=[2])
    output, slopes = gradient(Dco(samples=8), one)
    assert output.loss.item() == pytest.approx(1000.0 - math.log(8))
    assert slopes == pytest.approx([-1.0, -1.0])


def test_dco_has_no_seam_between_its_two_forms():
    edge = math.log(1e-9 / 8)
    values = []
    for log_p in (edge - 1e-9, edge + 1e-9):
        one = inputs([log_p], [-1.0], [1.0], weights=[1.0], lengths=[1])
        output, slopes = gradient(Dco(samples=8), one)
        values.append((output.loss.item(), slopes[0]))
    assert values[0] == pytest.approx(values[1], abs=1e-8)


@pytest.mark.parametrize("log_p", [-1.0, -1e-4, -1e-7, 0.0])
def test_dco_of_one_sample_keeps_its_slope_down_to_a_certain_answer(log_p):
    one = inputs([log_p], [-1.0], [1.0], weights=[1.0], lengths=[1])
    output, slopes = gradient(Dco(samples=1), one)
    assert output.loss.item() == pytest.approx(-log_p, abs=1e-15)
    assert slopes == [-1.0]
