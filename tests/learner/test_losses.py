"""What must hold of every token-local loss."""

import pytest
import torch

from rlvr.learner.losses.cispo import Cispo, TwoSidedCispo
from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.losses.decoupled import Decoupled
from rlvr.learner.losses.dppo import DppoKl, DppoTv
from rlvr.learner.losses.dro import Dro
from rlvr.learner.losses.nft import Nft
from rlvr.learner.losses.nll import PositiveNll
from rlvr.learner.losses.prime_rl import PrimeRl
from rlvr.learner.losses.reinforce import Reinforce
from rlvr.learner.losses.sapo import Sapo
from rlvr.learner.losses.topr import TokenTopr
from rlvr.metrics import describe
from tests.learner.loss_cases import (
    ADVANTAGES,
    BEHAVIOUR,
    LOGPROBS,
    SAMPLED,
    gradient,
    inputs,
    measured_slopes,
)

NAN = float("nan")
INFINITY = float("inf")
POLICY_GRADIENTS = [
    Clipped(),
    Clipped(dual_clip=3.0),
    Cispo(),
    TwoSidedCispo(),
    Reinforce(),
    Reinforce(weight_cap=2.0),
    Sapo(),
    DppoTv(),
    DppoKl(),
    PrimeRl(),
    TokenTopr(),
    Dro(beta=0.5),
    Nft(),
    Decoupled(),
    Decoupled(dual_clip=3.0, weight_cap=1.1),
    Decoupled(weight_cap=1.1, beyond_cap="mask"),
    Decoupled(proximal="log-linear"),
]
SMOOTH = [
    Clipped(),
    Sapo(),
    Dro(beta=0.5),
    PrimeRl(tau=0.1),
    PositiveNll(),
    PositiveNll(of="correct", coef=0.1),
    Decoupled(weight_cap=1.1),
]
LOSSES = [
    *POLICY_GRADIENTS,
    Nft(normalize="none"),
    Nft(normalize="grpo"),
    PositiveNll(),
    PositiveNll(by_advantage=True),
    PositiveNll(of="correct", coef=0.1),
]
WEIGHTS = [0.3, 0.1, 0.2, 0.05, 0.05, 0.2, 0.1]
CORRECT_WEIGHTS = [0.25] * 4 + [0.0] * 3
LAG = [2.0, 2.0, 2.0, 2.0, 1.0, 0.0, 0.0]
FIELDS = [
    "logprobs_T",
    "sampled_logprobs_T",
    "advantages_T",
    "weights_T",
    "entropy_T",
    "proximal_logprobs_T",
    "reference_logprobs_T",
    "correct_weights_T",
    "lag_T",
]

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)


def part(cut, **changed):
    """Some of the tokens, with all that a loss may ask for."""
    given = {
        "weights": WEIGHTS[cut],
        "proximal": SAMPLED[cut],
        "reference": LOGPROBS[cut],
        "correct_weights": CORRECT_WEIGHTS[cut],
        "lag": LAG[cut],
    }
    return inputs(LOGPROBS[cut], BEHAVIOUR[cut], ADVANTAGES[cut], **(given | changed))


@pytest.mark.parametrize("loss", POLICY_GRADIENTS, ids=repr)
def test_on_policy_the_gradient_is_minus_advantage_times_weight(loss):
    advantages = [0.75] * 4 + [-0.25] * 3
    one = inputs(LOGPROBS, LOGPROBS, advantages, weights=WEIGHTS, proximal=LOGPROBS, lag=[0.0] * 7)
    _, slopes = gradient(loss, one)
    expected = [-a * w for a, w in zip(advantages, WEIGHTS, strict=True)]
    assert slopes == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("loss", SMOOTH, ids=repr)
def test_the_gradient_is_the_slope_of_the_value(loss):
    one = part(slice(None))
    _, slopes = gradient(loss, one)
    assert any(slopes)
    assert slopes == pytest.approx(measured_slopes(loss, one), abs=1e-8)


@every_loss
def test_shares_and_metrics_of_any_cut_add_up(loss):
    whole, slopes = gradient(loss, part(slice(None)))
    outputs, parts = [], []
    for cut in (slice(0, 1), slice(1, 5), slice(5, 7)):
        output, part_slopes = gradient(loss, part(cut))
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
@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_what_stands_outside_the_mask_reaches_nothing(loss, field, value):
    three = part(slice(3, 6), mask=[True, False, True])
    with torch.no_grad():
        getattr(three, field)[1] = value
    output, slopes = gradient(loss, three)

    expected, expected_slopes = gradient(loss, part(slice(3, 6, 2)))
    assert output.loss.item() == pytest.approx(expected.loss.item(), rel=1e-12)
    assert slopes == pytest.approx([expected_slopes[0], 0.0, expected_slopes[1]], rel=1e-12)
    for metric, clean_mean in expected.metrics.items():
        assert output.metrics[metric].total.item() == pytest.approx(clean_mean.total.item())
        assert output.metrics[metric].count == clean_mean.count


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("step", [0.0, 1.0], ids=["sampler_far", "proximal_far"])
def test_log_ratios_of_any_size_stay_finite(loss, dtype, step):
    trained = [-1e4, 0.0, -1e4, 0.0, 0.0, -1e-9]
    sampled = [0.0, -1e4, 0.0, -1e4, 0.0, 0.0]
    one = inputs(
        trained,
        sampled,
        [1.0, 1.0, -1.0, -1.0, 0.0, 1.0],
        dtype=dtype,
        proximal=sampled if step else trained,
        correct_weights=[0.5] * 6,
        lag=[5.0] * 6,
    )
    output, slopes = gradient(loss, one)
    assert output.loss.isfinite()
    assert torch.tensor(slopes).isfinite().all()
    assert all(metric.total.isfinite() for metric in output.metrics.values())


@every_loss
def test_a_batch_that_trains_nothing_is_zero(loss):
    output, slopes = gradient(loss, part(slice(0, 1), mask=[False]))
    assert output.loss.item() == 0.0
    assert slopes == [0.0]


@every_loss
def test_a_zero_advantage_teaches_nothing_on_policy(loss):
    one = inputs([-1.0], [-1.0], [0.0], proximal=[-1.0], correct_weights=[0.0], lag=[0.0])
    _, slopes = gradient(loss, one)
    assert slopes == [0.0]


@every_loss
def test_every_metric_is_described(loss):
    output = loss(part(slice(None)))
    assert [name for name in output.metrics if describe(name) is None] == []


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Cispo, {"ratio_cap": 0.28}),
        (Cispo, {"ratio_cap": NAN}),
        (TwoSidedCispo, {"clip_low": 1.1}),
        (TwoSidedCispo, {"clip_high": -0.1}),
        (Reinforce, {"weight_cap": 0.5}),
        (Sapo, {"tau_positive": 0.0}),
        (Sapo, {"tau_negative": -1.0}),
        (Sapo, {"tau_positive": INFINITY}),
        (Sapo, {"tau_negative": INFINITY}),
        (DppoTv, {"max_shift": 1.0}),
        (DppoTv, {"weight_cap": 0.5}),
        (DppoKl, {"max_kl": 0.0}),
        (DppoKl, {"weight_cap": NAN}),
        (PrimeRl, {"max_rise": 0.0}),
        (PrimeRl, {"max_fall": NAN}),
        (PrimeRl, {"tau": -1.0}),
        (PrimeRl, {"tau": NAN}),
        (TokenTopr, {"negative_cap": 0.9}),
        (Dro, {"beta": 0.0}),
        (Dro, {"beta": INFINITY}),
        (Nft, {"negative_weight": -1.0}),
        (Nft, {"negative_weight": INFINITY}),
        (Nft, {"floor": 0.0}),
        (Nft, {"floor": 1.5}),
        (PositiveNll, {"coef": -0.1}),
        (PositiveNll, {"coef": NAN}),
        (Decoupled, {"clip_low": NAN}),
        (Decoupled, {"dual_clip": 1.0}),
        (Decoupled, {"weight_cap": 0.5}),
        (Decoupled, {"weight_cap": NAN}),
    ],
)
def test_settings_that_mean_nothing_are_refused(kind, settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(ValueError, match=f"{name}={value}.*take"):
        kind(**settings)


@pytest.mark.parametrize(
    ("kind", "settings", "choices"),
    [
        (Nft, {"normalize": "1"}, "none, dr_grpo, grpo"),
        (PositiveNll, {"of": "wrong"}, "advantage, correct"),
        (Decoupled, {"proximal": "linear"}, "recomputed, log-linear"),
        (Decoupled, {"beyond_cap": "drop"}, "clamp, mask"),
        (PositiveNll, {"by_advantage": True, "of": "correct"}, "of='advantage'"),
    ],
)
def test_unknown_choices_are_refused_with_what_there_is(kind, settings, choices):
    with pytest.raises(ValueError, match=choices):
        kind(**settings)


@pytest.mark.parametrize(
    ("loss", "missing"),
    [
        (Decoupled(), "proximal"),
        (Decoupled(proximal="log-linear"), "lag"),
        (PositiveNll(of="correct"), "correct_weights"),
    ],
)
def test_inputs_that_lack_something_are_refused_by_its_name(loss, missing):
    with pytest.raises(ValueError, match=f"{missing}.*None: .*give"):
        loss(part(slice(None), **{missing: None}))


def test_only_what_is_recomputed_is_asked_for():
    assert Decoupled().needs == {"proximal"}
    assert Decoupled(proximal="log-linear").needs == set()
