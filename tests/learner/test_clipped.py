"""The clipped loss, by hand."""

import pytest
import torch

from rlvr.learner.loss import LossInputs
from rlvr.learner.losses.clipped import Clipped

LOGPROBS = [-0.5, -1.2, -0.3, -2.0, -0.7, -0.9, -1.1]
SAMPLED = [-0.7, -1.25, -0.25, -1.4, -0.7, -1.3, -0.8]
RISEN = [0.0714285714, 0.106558907, 0]
ADVANTAGES = [1.0] * 4 + [-0.5] * 3


def inputs(logprobs, sampled, advantages, *, mask=None, weights=None) -> LossInputs:
    count = len(logprobs)
    return LossInputs(
        logprobs_T=torch.tensor(logprobs, dtype=torch.float64, requires_grad=True),
        entropy_T=torch.full((count,), 0.5, dtype=torch.float64, requires_grad=True),
        sampled_logprobs_T=torch.tensor(sampled, dtype=torch.float64),
        advantages_T=torch.tensor(advantages, dtype=torch.float64),
        weights_T=torch.tensor(weights or [1 / count] * count, dtype=torch.float64),
        mask_T=torch.tensor(mask or [True] * count),
    )


def gradient(loss, one):
    output = loss(one)
    output.loss.backward()
    return output, one.logprobs_T.grad.tolist()


def mean(output, name):
    return (output.metrics[name].total / output.metrics[name].count).item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, +2.0, -2.0, -2.0),  # on policy: REINFORCE
        (1.5, +2.0, -2.4, 0.0),  # rose past 1.2: clipped
        (0.5, +2.0, -1.0, -1.0),  # fell, though it should rise: not clipped
        (0.5, -2.0, +1.6, 0.0),  # fell past 0.8: clipped
        (1.5, -2.0, +3.0, +3.0),  # rose, though it should fall: not clipped
    ],
)
def test_one_token_by_hand(ratio, advantage, loss, slope):
    one = inputs([0.0], [0.0], [advantage])
    with torch.no_grad():
        one.logprobs_T.fill_(torch.tensor(ratio, dtype=torch.float64).log())
    output, slopes = gradient(Clipped(), one)
    assert output.loss.item() == pytest.approx(loss)
    assert slopes == pytest.approx([slope])


@pytest.mark.parametrize(
    ("loss", "value", "slopes", "clipped"),
    [
        (
            Clipped(),
            -0.3007714012,
            [0, -0.1501815852, -0.1358899178, -0.0784016623, 0.0714285714, 0.106558907, 0],
            2 / 7,
        ),
        (
            Clipped(clip_high=0.28),
            -0.303828938,
            [-0.1744861083, -0.1501815852, -0.1358899178, -0.0784016623, *RISEN],
            1 / 7,
        ),
        (
            Clipped(dual_clip=1.3),
            -0.3144731653,
            [0, -0.1501815852, -0.1358899178, -0.0784016623, 0.0714285714, 0, 0],
            2 / 7,
        ),
    ],
)
def test_a_batch_by_hand(loss, value, slopes, clipped):
    output, got = gradient(loss, inputs(LOGPROBS, SAMPLED, ADVANTAGES))
    assert output.loss.item() == pytest.approx(value, abs=1e-9)
    assert got == pytest.approx(slopes, abs=1e-9)
    assert mean(output, "actor/pg_clipfrac") == pytest.approx(clipped)
    assert mean(output, "actor/ppo_kl") == pytest.approx(0.0428571429)
    assert mean(output, "actor/entropy") == pytest.approx(0.5)


def test_dual_clip_counts_what_it_bounds():
    output = Clipped(dual_clip=1.3)(inputs(LOGPROBS, SAMPLED, ADVANTAGES))
    assert mean(output, "actor/pg_clipfrac_lower") == pytest.approx(1 / 7)


@pytest.mark.parametrize("loss", [Clipped(), Clipped(clip_high=0.28), Clipped(dual_clip=3.0)])
def test_on_policy_the_gradient_is_minus_the_advantage_over_the_tokens(loss):
    _, slopes = gradient(loss, inputs(LOGPROBS, LOGPROBS, ADVANTAGES))
    assert slopes == pytest.approx([-advantage / 7 for advantage in ADVANTAGES])


def test_shares_of_any_cut_add_up():
    weights = [0.3, 0.1, 0.2, 0.05, 0.05, 0.2, 0.1]
    whole, slopes = gradient(Clipped(), inputs(LOGPROBS, SAMPLED, ADVANTAGES, weights=weights))
    total, parts = 0.0, []
    for cut in (slice(0, 1), slice(1, 5), slice(5, 7)):
        part = inputs(LOGPROBS[cut], SAMPLED[cut], ADVANTAGES[cut], weights=weights[cut])
        output, part_slopes = gradient(Clipped(), part)
        total += output.loss.item()
        parts += part_slopes
    assert total == pytest.approx(whole.loss.item())
    assert parts == pytest.approx(slopes)


@pytest.mark.parametrize("field", ["sampled", "advantages", "weights", "logprobs"])
def test_a_nan_outside_the_mask_reaches_nothing(field):
    lists = {
        "logprobs": LOGPROBS[:2],
        "sampled": SAMPLED[:2],
        "advantages": ADVANTAGES[:2],
        "weights": [0.5, 0.5],
    }
    lists[field] = [lists[field][0], float("nan")]
    output, slopes = gradient(Clipped(), inputs(**lists, mask=[True, False]))
    clean = inputs(LOGPROBS[:1], SAMPLED[:1], ADVANTAGES[:1], weights=[0.5])
    expected, expected_slopes = gradient(Clipped(), clean)
    assert output.loss.item() == expected.loss.item()
    assert slopes == [*expected_slopes, 0.0]
    for name, metric in expected.metrics.items():
        assert output.metrics[name] == metric


def test_a_ratio_cannot_overflow():
    output, slopes = gradient(Clipped(), inputs([0.0, 0.0], [-1e4, 1e4], [-1.0, 1.0]))
    assert output.loss.isfinite()
    assert slopes == [0.0, 0.0]


@pytest.mark.parametrize(
    "settings",
    [
        {"clip_low": 1.0},
        {"clip_low": -0.1},
        {"clip_low": float("nan")},
        {"clip_high": -0.1},
        {"clip_high": float("nan")},
        {"dual_clip": 1.0},
        {"dual_clip": float("nan")},
    ],
)
def test_bounds_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValueError, match="take"):
        Clipped(**settings)
