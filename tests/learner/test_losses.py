"""What must hold of every token-local loss."""

import pytest
import torch

from rlvr.learner.losses.cispo import Cispo, TwoSidedCispo
from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.losses.dppo import DppoKl, DppoTv
from rlvr.learner.losses.dro import Dro
from rlvr.learner.losses.nft import Nft
from rlvr.learner.losses.nll import PositiveNll
from rlvr.learner.losses.reinforce import Reinforce
from rlvr.learner.losses.sapo import Sapo
from rlvr.learner.losses.topr import TokenTopr
from rlvr.metrics import describe
from tests.learner.loss_cases import ADVANTAGES, LOGPROBS, SAMPLED, gradient, inputs

POLICY_GRADIENTS = [
    Clipped(),
    Cispo(),
    TwoSidedCispo(),
    Reinforce(),
    Reinforce(weight_cap=2.0),
    Sapo(),
    DppoTv(),
    DppoKl(),
    TokenTopr(),
    Dro(beta=0.5),
    Nft(),
]
LOSSES = [*POLICY_GRADIENTS, PositiveNll(), PositiveNll(by_advantage=True)]
WEIGHTS = [0.3, 0.1, 0.2, 0.05, 0.05, 0.2, 0.1]
FIELDS = ["logprobs", "sampled", "advantages", "weights", "entropy"]

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)


@pytest.mark.parametrize("loss", POLICY_GRADIENTS, ids=repr)
def test_on_policy_the_gradient_is_minus_advantage_times_weight(loss):
    advantages = [0.75] * 4 + [-0.25] * 3
    _, slopes = gradient(loss, inputs(LOGPROBS, LOGPROBS, advantages, weights=WEIGHTS))
    expected = [-a * w for a, w in zip(advantages, WEIGHTS, strict=True)]
    assert slopes == pytest.approx(expected, abs=1e-12)


@every_loss
def test_shares_and_metrics_of_any_cut_add_up(loss):
    whole, slopes = gradient(loss, inputs(LOGPROBS, SAMPLED, ADVANTAGES, weights=WEIGHTS))
    outputs, parts = [], []
    for cut in (slice(0, 1), slice(1, 5), slice(5, 7)):
        part = inputs(LOGPROBS[cut], SAMPLED[cut], ADVANTAGES[cut], weights=WEIGHTS[cut])
        output, part_slopes = gradient(loss, part)
        outputs.append(output)
        parts += part_slopes
    assert sum(output.loss.item() for output in outputs) == pytest.approx(whole.loss.item())
    assert parts == pytest.approx(slopes)
    for name, metric in whole.metrics.items():
        totals = [output.metrics[name].total.item() for output in outputs]
        counts = [output.metrics[name].count.item() for output in outputs]
        assert sum(totals) == pytest.approx(metric.total.item())
        assert sum(counts) == metric.count.item()


@every_loss
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_stands_outside_the_mask_reaches_nothing(loss, field, value):
    mask = [True, False, True]
    three = inputs(LOGPROBS[3:6], SAMPLED[3:6], ADVANTAGES[3:6], mask=mask, weights=[0.5] * 3)
    name = f"{field}_T" if field != "sampled" else "sampled_logprobs_T"
    with torch.no_grad():
        getattr(three, name)[1] = value
    output, slopes = gradient(loss, three)

    clean = inputs(LOGPROBS[3:6:2], SAMPLED[3:6:2], ADVANTAGES[3:6:2], weights=[0.5] * 2)
    expected, expected_slopes = gradient(loss, clean)
    assert output.loss.item() == pytest.approx(expected.loss.item(), rel=1e-12)
    assert slopes == pytest.approx([expected_slopes[0], 0.0, expected_slopes[1]], rel=1e-12)
    for metric, clean_mean in expected.metrics.items():
        assert output.metrics[metric].total.item() == pytest.approx(clean_mean.total.item())
        assert output.metrics[metric].count == clean_mean.count


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_ratios_of_any_size_stay_finite(loss, dtype):
    one = inputs(
        [-1e4, 0.0, -1e4, 0.0, 0.0, -1e-9],
        [0.0, -1e4, 0.0, -1e4, 0.0, 0.0],
        [1.0, 1.0, -1.0, -1.0, 0.0, 1.0],
        dtype=dtype,
    )
    output, slopes = gradient(loss, one)
    assert output.loss.isfinite()
    assert torch.tensor(slopes).isfinite().all()
    assert all(metric.total.isfinite() for metric in output.metrics.values())


@every_loss
def test_a_batch_that_trains_nothing_is_zero(loss):
    one = inputs([-1.0], [-2.0], [1.0], mask=[False])
    output, slopes = gradient(loss, one)
    assert output.loss.item() == 0.0
    assert slopes == [0.0]


@every_loss
def test_a_zero_advantage_teaches_nothing_on_policy(loss):
    _, slopes = gradient(loss, inputs([-1.0], [-1.0], [0.0]))
    assert slopes == [0.0]


@every_loss
def test_every_metric_is_described(loss):
    output = loss(inputs(LOGPROBS, SAMPLED, ADVANTAGES))
    assert [name for name in output.metrics if describe(name) is None] == []


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Cispo, {"ratio_cap": 0.28}),
        (Cispo, {"ratio_cap": float("nan")}),
        (TwoSidedCispo, {"clip_low": 1.1}),
        (TwoSidedCispo, {"clip_high": -0.1}),
        (Reinforce, {"weight_cap": 0.5}),
        (Sapo, {"tau_positive": 0.0}),
        (Sapo, {"tau_negative": -1.0}),
        (DppoTv, {"max_shift": 1.0}),
        (DppoTv, {"weight_cap": 0.5}),
        (DppoKl, {"max_kl": 0.0}),
        (DppoKl, {"weight_cap": float("nan")}),
        (TokenTopr, {"negative_cap": 0.9}),
        (Dro, {"beta": 0.0}),
        (Nft, {"negative_weight": -1.0}),
        (Nft, {"floor": 0.0}),
        (Nft, {"floor": 1.5}),
    ],
)
def test_settings_that_mean_nothing_are_refused(kind, settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(ValueError, match=f"{name}={value}.*take"):
        kind(**settings)
