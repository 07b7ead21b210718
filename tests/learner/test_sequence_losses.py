"""Losses on whole sequences: what must hold of every one, and each by hand."""

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
from rlvr.metrics import describe
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
    measured_slopes,
)

NAN = float("nan")
POLICY_GRADIENTS = [
    Gspo(),
    Gspo(clip_low=0.2, clip_high=0.28),
    Gmpo(),
    Kimi(tau=0.5),
    BcpgNsa(),
    BcpgNsa(tau=0.5),
    Vespo(),
    Topr(),
    Topr(ratio="geometric"),
    Topr(positive_low=0.1, positive_high=3.0, negative_low=0.5, negative_high=2.0),
]
LOSSES = [*POLICY_GRADIENTS, Dco(samples=1), Dco(samples=16)]
SMOOTH = [
    Gspo(clip_low=0.2, clip_high=0.28),
    Gmpo(),
    Gmpo(clip_low=0.1, clip_high=0.1),
    Kimi(tau=0.5),
    BcpgNsa(tau=0.5),
    Dco(samples=1),
    Dco(samples=16),
]
# Three sequences, the last one of a single token.
THREE = {
    "logprobs_T": [*LOGPROBS, -0.4],
    "sampled_logprobs_T": [*SAMPLED, -0.6],
    "advantages_T": [*ADVANTAGES, 0.25],
    "weights_T": [*SEQUENCE_MEAN, 0.5],
    "proximal_logprobs_T": [*BEHAVIOUR, -0.45],
    "reference_logprobs_T": [*REFERENCE, -0.3],
    "entropy_T": [0.5] * 8,
}
THREE_LENGTHS = [4, 3, 1]

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)


def some(order, *, extra=(), mask=None):
    """The sequences of ``order``; ``extra`` holds indices of tokens to have in front."""
    starts = [0, 4, 7]
    tokens = [starts[i] + step for i in order for step in range(THREE_LENGTHS[i])]
    picked = {name: [values[t] for t in (*extra, *tokens)] for name, values in THREE.items()}
    lengths = [THREE_LENGTHS[i] for i in order]
    lengths[0] += len(extra)
    return inputs(
        picked["logprobs_T"],
        picked["sampled_logprobs_T"],
        picked["advantages_T"],
        weights=picked["weights_T"],
        proximal=picked["proximal_logprobs_T"],
        reference=picked["reference_logprobs_T"],
        lengths=lengths,
        mask=mask,
    )


@pytest.mark.parametrize("loss", POLICY_GRADIENTS, ids=repr)
@pytest.mark.parametrize("weights", [SEQUENCE_MEAN, SEQUENCE_SUM, [1 / 7] * 7])
def test_on_policy_the_gradient_is_minus_advantage_times_weight(loss, weights):
    one = inputs(
        LOGPROBS, LOGPROBS, ADVANTAGES, weights=weights, lengths=LENGTHS, reference=LOGPROBS
    )
    _, slopes = gradient(loss, one)
    expected = [-a * w for a, w in zip(ADVANTAGES, weights, strict=True)]
    assert slopes == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("loss", SMOOTH, ids=repr)
def test_the_gradient_is_the_slope_of_the_value(loss):
    one = some([0, 1, 2])
    _, slopes = gradient(loss, one)
    assert any(slopes)
    assert slopes == pytest.approx(measured_slopes(loss, one), abs=1e-8)


@every_loss
def test_the_order_of_the_sequences_changes_nothing(loss):
    output, slopes = gradient(loss, some([0, 1, 2]))
    turned, turned_slopes = gradient(loss, some([2, 0, 1]))
    assert turned.loss.item() == pytest.approx(output.loss.item(), rel=1e-12)
    assert turned_slopes == pytest.approx(slopes[7:] + slopes[:7], rel=1e-12)
    for name, metric in output.metrics.items():
        assert turned.metrics[name].total.item() == pytest.approx(metric.total.item())
        assert turned.metrics[name].count == metric.count


@every_loss
@pytest.mark.parametrize("cut", [([0], [1, 2]), ([0, 1], [2]), ([0], [1], [2])])
def test_shares_and_metrics_of_any_cut_between_sequences_add_up(loss, cut):
    whole, slopes = gradient(loss, some([0, 1, 2]))
    results = [gradient(loss, some(order)) for order in cut]
    assert sum(output.loss.item() for output, _ in results) == pytest.approx(whole.loss.item())
    assert [s for _, part in results for s in part] == pytest.approx(slopes)
    for name, metric in whole.metrics.items():
        totals = [output.metrics[name].total.item() for output, _ in results]
        counts = [output.metrics[name].count.item() for output, _ in results]
        assert sum(totals) == pytest.approx(metric.total.item())
        assert sum(counts) == metric.count.item()


@every_loss
@pytest.mark.parametrize("field", THREE)
@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_what_stands_outside_the_mask_reaches_nothing(loss, field, value):
    # Two tokens that do not train, in front of the first sequence.
    dirty = some([0, 1], extra=[5, 6], mask=[False] * 2 + [True] * 7)
    with torch.no_grad():
        getattr(dirty, field)[0] = value
    output, slopes = gradient(loss, dirty)
    expected, expected_slopes = gradient(loss, some([0, 1]))
    assert output.loss.item() == pytest.approx(expected.loss.item(), rel=1e-12)
    assert slopes == pytest.approx([0.0, 0.0, *expected_slopes], rel=1e-12)
    for name, clean in expected.metrics.items():
        assert output.metrics[name].total.item() == pytest.approx(clean.total.item())
        assert output.metrics[name].count == clean.count


@every_loss
def test_a_sequence_that_does_not_train_reaches_nothing(loss):
    output, slopes = gradient(loss, some([2, 0, 1], mask=[False] + [True] * 7))
    expected, expected_slopes = gradient(loss, some([0, 1]))
    assert output.loss.item() == pytest.approx(expected.loss.item(), rel=1e-12)
    assert slopes == pytest.approx([0.0, *expected_slopes], rel=1e-12)


@every_loss
def test_a_batch_that_trains_nothing_is_zero(loss):
    output, slopes = gradient(loss, some([0, 2], mask=[False] * 5))
    assert output.loss.item() == 0.0
    assert slopes == [0.0] * 5


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_ratios_of_any_size_stay_finite(loss, dtype):
    trained = [-1e4, 0.0, -1e4, 0.0, 0.0, -1e-9]
    sampled = [0.0, -1e4, 0.0, -1e4, 0.0, 0.0]
    advantages = [1.0, 1.0, -1.0, -1.0, 0.0, 1.0]
    for lengths in ([1] * 6, [2, 2, 2], [4, 2]):
        one = inputs(trained, sampled, advantages, dtype=dtype, lengths=lengths, reference=sampled)
        output, slopes = gradient(loss, one)
        assert output.loss.isfinite()
        assert torch.tensor(slopes).isfinite().all()
        assert all(metric.total.isfinite() for metric in output.metrics.values())


@every_loss
def test_every_metric_is_described(loss):
    assert [name for name in loss(some([0, 1, 2])).metrics if describe(name) is None] == []


@every_loss
def test_says_that_it_takes_whole_sequences_and_refuses_tokens_without(loss):
    assert loss.whole_sequences
    with pytest.raises(ValueError, match=r"sequence_T=None.*give"):
        loss(inputs(LOGPROBS, SAMPLED, ADVANTAGES, reference=REFERENCE))


def test_a_missing_reference_is_refused_by_name():
    assert BcpgNsa().needs == {"reference"}
    with pytest.raises(ValueError, match=r"reference_logprobs_T=None.*give"):
        BcpgNsa()(inputs(LOGPROBS, SAMPLED, ADVANTAGES, lengths=LENGTHS))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Gspo, {"clip_low": 1.0}),
        (Gspo, {"clip_low": NAN}),
        (Gspo, {"clip_high": -1e-4}),
        (Gmpo, {"clip_low": -0.4}),
        (Gmpo, {"clip_high": NAN}),
        (Kimi, {"tau": 0.0}),
        (Kimi, {"tau": NAN}),
        (Kimi, {"tau": float("inf")}),
        (BcpgNsa, {"tau": -1.0}),
        (Vespo, {"k_positive": 0.0}),
        (Vespo, {"decay_positive": NAN}),
        (Vespo, {"k_negative": -1.0}),
        (Vespo, {"decay_negative": float("inf")}),
        (Topr, {"positive_low": 2.0}),
        (Topr, {"negative_low": -0.1}),
        (Topr, {"negative_high": NAN}),
        (Topr, {"ratio": "token"}),
        (Dco, {"samples": 0}),
    ],
)
def test_settings_that_mean_nothing_are_refused(kind, settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(ValueError, match=f"{name}={value!r}.*take"):
        kind(**settings)


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
