"""What must hold of every loss on whole sequences."""

import pytest
import torch

from rlvr.learner.losses.bcpg import BcpgNsa
from rlvr.learner.losses.dco import Dco
from rlvr.learner.losses.gmpo import Gmpo
from rlvr.learner.losses.gspo import Gspo
from rlvr.learner.losses.kimi import Kimi
from rlvr.learner.losses.topr import Topr
from rlvr.learner.losses.vespo import Vespo
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
