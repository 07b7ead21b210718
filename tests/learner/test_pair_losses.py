"""Losses on pairs of a better and a worse answer."""

import math

import pytest
import torch

from rlvr.learner.losses.dpo import Dpo, Ipo, SimPo
from rlvr.metrics import describe
from tests.learner.loss_cases import (
    ADVANTAGES,
    LENGTHS,
    LOGPROBS,
    REFERENCE,
    SAMPLED,
    SEQUENCE_SUM,
    gradient,
    inputs,
    mean,
    measured_slopes,
)

NAN = float("nan")
LOSSES = [
    Dpo(),
    Dpo(beta=0.5, label_smoothing=0.1),
    Ipo(),
    Ipo(beta=0.5, length_normalized=False),
    SimPo(),
]
# Two pairs: the one that stands in the cases, and one of 1 and 2 tokens.
TOKENS = {
    "logprobs": [*LOGPROBS, -0.4, -0.9, -0.2],
    "sampled": [*SAMPLED, -0.6, -0.8, -0.3],
    "advantages": [*ADVANTAGES, 1.0, -1.0, -1.0],
    "reference": [*REFERENCE, -0.7, -0.8, -0.1],
}
LENGTHS_OF_BOTH = [*LENGTHS, 1, 2]

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)


def case(cut=slice(None), lengths=LENGTHS_OF_BOTH, **given):
    chosen = {name: values[cut] for name, values in TOKENS.items()}
    weights = [1 / 4] * len(chosen["logprobs"])
    return inputs(**({"weights": weights, "lengths": lengths} | chosen | given))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def one_pair(**given):
    return inputs(
        LOGPROBS,
        SAMPLED,
        ADVANTAGES,
        **({"weights": SEQUENCE_SUM, "lengths": LENGTHS, "reference": REFERENCE} | given),
    )


def test_dpo_by_hand():
    output, slopes = gradient(Dpo(), one_pair())
    # The better one moved by -4.0 + 3.6, the worse one by -2.7 + 2.8.
    margin = 0.1 * (-0.4 - 0.1)
    assert output.loss.item() == pytest.approx(-math.log(sigmoid(margin)), abs=1e-12)
    slope = 0.1 * sigmoid(-margin)
    assert slopes == pytest.approx([-slope] * 4 + [slope] * 3, abs=1e-12)
    assert mean(output, "actor/rewards/margins") == pytest.approx(-0.05)
    assert mean(output, "actor/rewards/accuracies") == 0.0


def test_dpo_with_smoothed_labels_by_hand():
    output, _ = gradient(Dpo(beta=0.5, label_smoothing=0.1), one_pair())
    expected = -0.9 * math.log(sigmoid(-0.25)) - 0.1 * math.log(sigmoid(0.25))
    assert output.loss.item() == pytest.approx(expected, abs=1e-12)


def test_ipo_by_hand():
    output, slopes = gradient(Ipo(), one_pair())
    distance = -0.4 / 4 - 0.1 / 3
    assert output.loss.item() == pytest.approx((distance - 5.0) ** 2, abs=1e-12)
    slope = 2 * (distance - 5.0)
    assert slopes == pytest.approx([slope / 4] * 4 + [-slope / 3] * 3, abs=1e-12)
    summed, _ = gradient(Ipo(beta=0.5, length_normalized=False), one_pair())
    assert summed.loss.item() == pytest.approx((-0.5 - 1.0) ** 2, abs=1e-12)


def test_simpo_by_hand():
    output, slopes = gradient(SimPo(), one_pair(reference=None))
    margin = 2.0 * (-4.0 / 4 + 2.7 / 3)
    assert output.loss.item() == pytest.approx(-math.log(sigmoid(margin - 0.5)), abs=1e-12)
    slope = 2.0 * sigmoid(0.5 - margin)
    assert slopes == pytest.approx([-slope / 4] * 4 + [slope / 3] * 3, abs=1e-12)
    assert mean(output, "actor/rewards/margins") == pytest.approx(margin)


def test_with_a_sequence_mean_the_loss_is_a_mean_over_pairs():
    first = -math.log(sigmoid(0.1 * (-0.4 - 0.1)))
    second = -math.log(sigmoid(0.1 * (0.3 - -0.2)))
    output = Dpo()(case())
    assert output.loss.item() == pytest.approx((first + second) / 2, abs=1e-12)
    assert mean(output, "actor/rewards/margins") == pytest.approx((-0.05 + 0.05) / 2)
    assert mean(output, "actor/rewards/accuracies") == 0.5


def test_a_pair_weighs_as_much_as_its_two_sequences():
    weights = [0.1, 0.3, 0.2, 0.2] + [0.6] * 3 + [0.5] + [0.3, 0.5]
    first = -math.log(sigmoid(0.1 * (-0.4 - 0.1)))
    second = -math.log(sigmoid(0.1 * (0.3 - -0.2)))
    expected = (0.2 + 0.6) * first + (0.5 + 0.4) * second
    assert Dpo()(case(weights=weights)).loss.item() == pytest.approx(expected, abs=1e-12)


@every_loss
def test_the_gradient_is_the_slope_of_the_value(loss):
    one = case()
    _, slopes = gradient(loss, one)
    assert all(slopes)
    assert slopes == pytest.approx(measured_slopes(loss, one), abs=1e-8)


@every_loss
def test_shares_and_metrics_of_the_pairs_add_up(loss):
    whole, slopes = gradient(loss, case())
    first, first_slopes = gradient(loss, case(slice(0, 7), LENGTHS))
    second, second_slopes = gradient(loss, case(slice(7, 10), [1, 2]))
    assert first.loss.item() + second.loss.item() == pytest.approx(whole.loss.item())
    assert first_slopes + second_slopes == pytest.approx(slopes)
    for name, metric in whole.metrics.items():
        parts = [part.metrics[name] for part in (first, second)]
        assert sum(part.total.item() for part in parts) == pytest.approx(metric.total.item())
        assert sum(part.count.item() for part in parts) == metric.count.item()


@every_loss
def test_the_order_of_the_pairs_changes_nothing_but_that_within_one_does(loss):
    output, slopes = gradient(loss, case())
    other = {name: values[7:] + values[:7] for name, values in TOKENS.items()}
    turned, turned_slopes = gradient(loss, case(lengths=[1, 2, 4, 3], **other))
    assert turned.loss.item() == pytest.approx(output.loss.item(), rel=1e-12)
    assert turned_slopes == pytest.approx(slopes[7:] + slopes[:7], rel=1e-12)

    worse = {name: values[4:7] + values[:4] for name, values in TOKENS.items()}
    swapped = loss(case(slice(0, 7), [3, 4], **worse))
    assert swapped.loss.item() != pytest.approx(loss(case(slice(0, 7), LENGTHS)).loss.item())


@every_loss
@pytest.mark.parametrize("field", ["logprobs_T", "reference_logprobs_T", "weights_T"])
@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_what_stands_outside_the_mask_reaches_nothing(loss, field, value):
    mask = [True] * 8 + [False, True]
    dirty = case(mask=mask)
    with torch.no_grad():
        getattr(dirty, field)[8] = value
    output, slopes = gradient(loss, dirty)
    clean = {name: values[:8] + values[9:] for name, values in TOKENS.items()}
    expected, expected_slopes = gradient(
        loss, case(lengths=[4, 3, 1, 1], **clean, weights=[0.25] * 9)
    )
    assert output.loss.item() == pytest.approx(expected.loss.item(), rel=1e-12)
    assert slopes == pytest.approx([*expected_slopes[:8], 0.0, expected_slopes[8]], rel=1e-12)


@every_loss
@pytest.mark.parametrize("half", [slice(7, 8), slice(8, 10)], ids=["better", "worse"])
def test_half_a_pair_teaches_nothing(loss, half):
    mask = [True] * 10
    mask[half] = [False] * (half.stop - half.start)
    output, slopes = gradient(loss, case(mask=mask))
    expected, expected_slopes = gradient(loss, case(slice(0, 7), LENGTHS))
    assert output.loss.item() == pytest.approx(expected.loss.item(), rel=1e-12)
    assert slopes == pytest.approx([*expected_slopes, 0.0, 0.0, 0.0], rel=1e-12)
    for name in ("actor/rewards/margins", "actor/rewards/accuracies"):
        assert output.metrics[name].total.item() == expected.metrics[name].total.item()
        assert output.metrics[name].count.item() == 1


@every_loss
def test_a_batch_that_trains_nothing_is_zero(loss):
    output, slopes = gradient(loss, case(mask=[False] * 10))
    assert output.loss.item() == 0.0
    assert slopes == [0.0] * 10


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_margins_of_any_size_stay_finite(loss, dtype):
    far = [-1e4, 0.0, 0.0, -1e4]
    one = inputs(
        far, far, [0.0] * 4, lengths=[1] * 4, reference=[0.0, -1e4, -1e4, 0.0], dtype=dtype
    )
    output, slopes = gradient(loss, one)
    assert output.loss.isfinite()
    assert torch.tensor(slopes).isfinite().all()


@every_loss
def test_every_metric_is_described(loss):
    assert [name for name in loss(case()).metrics if describe(name) is None] == []


@every_loss
def test_says_what_it_takes_and_refuses_less(loss):
    assert loss.pairs
    assert loss.whole_sequences
    with pytest.raises(ValueError, match="sequence_T=None"):
        loss(case(lengths=None))
    with pytest.raises(ValueError, match=r"3 sequences.*give both"):
        loss(case(slice(0, 8), [4, 3, 1]))
    if "reference" in getattr(loss, "needs", ()):
        with pytest.raises(ValueError, match=r"reference_logprobs_T=None.*give"):
            loss(case(reference=None))
    else:
        assert loss(case(reference=None)).loss.isfinite()


def test_only_simpo_does_without_a_reference():
    assert Dpo().needs == Ipo().needs == {"reference"}
    assert getattr(SimPo(), "needs", frozenset()) == frozenset()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Dpo, {"beta": 0.0}),
        (Dpo, {"beta": NAN}),
        (Dpo, {"label_smoothing": 0.5}),
        (Dpo, {"label_smoothing": NAN}),
        (Ipo, {"beta": float("inf")}),
        (SimPo, {"beta": -2.0}),
        (SimPo, {"gamma": -0.5}),
        (SimPo, {"gamma": NAN}),
    ],
)
def test_settings_that_mean_nothing_are_refused(kind, settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(ValueError, match=f"{name}={value}.*take"):
        kind(**settings)
