"""The critic's loss and its explained variance, by hand."""

import math

import pytest
import torch

from rlvr.learner.value_loss import explained_variance, explained_variance_of, value_loss
from rlvr.metrics import describe
from tests.learner.loss_cases import mean

VALUES = [0.9, 0.1, 0.4, 0.5]
RETURNS = [1.0, 0.0, 1.0, 0.0]
OLD = [0.5, 0.2, 0.9, 0.9]
WEIGHTS = [0.1, 0.2, 0.3, 0.4]


def tensors(values=VALUES, returns=RETURNS, old=OLD, weights=WEIGHTS, mask=None):
    rows = [torch.tensor(row, dtype=torch.float64) for row in (values, returns, old, weights)]
    rows[0].requires_grad_()
    return [*rows, torch.tensor(mask or [True] * len(values))]


def gradient(*rows, clip):
    output = value_loss(*rows, clip=clip)
    output.loss.backward()
    return output, rows[0].grad.tolist()


def test_by_hand():
    output, slopes = gradient(*tensors(), clip=0.2)
    # Clipped values 0.7, 0.1, 0.7, 0.7. The first is too far from 1 for having been clipped, the
    # third is worse off unclipped, the last would be worse off clipped.
    losses = [0.3**2 / 2, 0.1**2 / 2, 0.6**2 / 2, 0.7**2 / 2]
    assert output.loss.item() == pytest.approx(
        sum(loss * weight for loss, weight in zip(losses, WEIGHTS, strict=True)), abs=1e-12
    )
    assert slopes == pytest.approx([0.0, 0.1 * 0.2, -0.6 * 0.3, 0.0], abs=1e-12)
    assert mean(output, "critic/vf_loss") == pytest.approx(sum(losses) / 4)
    assert mean(output, "critic/vf_clipfrac") == pytest.approx(2 / 4)
    assert mean(output, "critic/vpred_mean") == pytest.approx(1.9 / 4)
    assert mean(output, "critic/returns/mean") == pytest.approx(0.5)


def test_without_a_clip_it_is_half_the_squared_error():
    output, slopes = gradient(*tensors(), clip=None)
    errors = [-0.1, 0.1, -0.6, 0.5]
    expected = [error * weight for error, weight in zip(errors, WEIGHTS, strict=True)]
    assert slopes == pytest.approx(expected, abs=1e-12)
    half = sum(e * e * w / 2 for e, w in zip(errors, WEIGHTS, strict=True))
    assert output.loss.item() == pytest.approx(half, abs=1e-12)
    assert mean(output, "critic/vf_clipfrac") == 0.0


def test_a_value_that_did_not_move_learns_at_full_slope():
    _, slopes = gradient(*tensors(old=VALUES), clip=0.2)
    _, free = gradient(*tensors(), clip=None)
    assert slopes == pytest.approx(free, abs=1e-12)


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("clip", [0.2, None])
def test_what_stands_outside_the_mask_reaches_nothing(row, value, clip):
    dirty = tensors(mask=[True, True, True, False])
    with torch.no_grad():
        dirty[row][3] = value
    output, slopes = gradient(*dirty, clip=clip)
    clean = tensors(VALUES[:3], RETURNS[:3], OLD[:3], WEIGHTS[:3])
    expected, expected_slopes = gradient(*clean, clip=clip)
    assert output.loss.item() == pytest.approx(expected.loss.item(), rel=1e-12)
    assert slopes == pytest.approx([*expected_slopes, 0.0], rel=1e-12)
    for name in expected.metrics:
        assert mean(output, name) == pytest.approx(mean(expected, name), rel=1e-12)


def test_shares_add_up_and_every_metric_is_described():
    whole = value_loss(*tensors(), clip=0.2)
    parts = [
        value_loss(*[row[cut] for row in tensors()], clip=0.2) for cut in (slice(1), slice(1, 4))
    ]
    assert sum(part.loss.item() for part in parts) == pytest.approx(whole.loss.item())
    for name, metric in whole.metrics.items():
        assert sum(p.metrics[name].total.item() for p in parts) == pytest.approx(
            metric.total.item()
        )
        assert describe(name) is not None


def test_explained_variance_by_hand():
    # Residuals 0.1, -0.1, 0.6: variance 26/300; of the returns 2/9.
    values, returns = torch.tensor([0.9, 0.1, 0.4]), torch.tensor([1.0, 0.0, 1.0])
    assert explained_variance(returns, values) == pytest.approx(0.61)
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(returns, torch.full((3,), 0.3)) == pytest.approx(0.0)
    assert math.isnan(explained_variance(torch.full((3,), 0.3), values))


def test_explained_variance_is_exact_from_the_sums_of_any_parts():
    cuts = (slice(0, 1), slice(1, 3), slice(3, 4))
    parts = [value_loss(*[row[cut] for row in tensors()], clip=0.2) for cut in cuts]
    means = {
        name: sum(p.metrics[name].total.item() for p in parts)
        / sum(p.metrics[name].count.item() for p in parts)
        for name in parts[0].metrics
    }
    values, returns, *_ = tensors()
    assert explained_variance_of(means) == pytest.approx(explained_variance(returns, values))


def test_explained_variance_of_returns_that_do_not_vary_is_no_number():
    output = value_loss(*tensors(returns=[0.3] * 4), clip=None)
    means = {name: mean(output, name) for name in output.metrics}
    assert math.isnan(explained_variance_of(means))


@pytest.mark.parametrize("clip", [0.0, -0.2, math.nan])
def test_a_clip_that_means_nothing_is_refused(clip):
    with pytest.raises(ValueError, match=f"clip={clip}.*take"):
        value_loss(*tensors(), clip=clip)
