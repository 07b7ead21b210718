"""Weights and filters for tokens that another policy sampled."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlvr.learner.corrections.icepop import SequenceMask, TokenMask, icepop
from rlvr.learner.corrections.m2po import M2po, m2po_mask
from rlvr.learner.corrections.opsm import Opsm, opsm
from rlvr.learner.corrections.sequence_filter import GeometricMask, K3Mask, SeqMaskTis, k3
from rlvr.learner.corrections.truncated import SequenceTis, TokenTis, tis
from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.losses.reinforce import Reinforce
from rlvr.learner.objective import Objective
from rlvr.metrics import describe
from tests.learner.loss_cases import ADVANTAGES, LOGPROBS, gradient, inputs

PROXIMAL = [-0.7, -1.25, -0.25, -1.4, -0.7, -1.3, -0.8]
SAMPLED = [-0.72, -1.2, -0.3, -1.0, -0.68, -1.45, -0.8]
SEQUENCES = [0, 0, 0, 0, 1, 1, 1]
RATIOS = [1.02020134, 0.9512294245, 1.0512710964, 0.670320046, 0.9801986733, 1.1618342427, 1.0]
PRODUCTS = [0.6838614092, 1.1388283833]
GEOMETRIC_MEANS = [0.9093729345, 1.0442859322]
MEAN_K3 = [0.0182554767, 0.004010972]
ON = [1.0] * 4, [1.0] * 3
OFF = [0.0] * 4, [0.0] * 3

TOKEN_LOCAL = [TokenTis(), TokenTis(cap=1.1, low=0.9), TokenMask(), TokenMask(low=0.9, high=1.1)]
OF_SEQUENCES = [
    SequenceTis(cap=1.1),
    SequenceMask(low=0.7),
    GeometricMask(low=0.95, high=1.05),
    K3Mask(max_k3=0.01),
    SeqMaskTis(low=0.95),
    SeqMaskTis(low=0.9, cap=1.1),
    Opsm(delta=0.1),
    M2po(),
]
FILTERS = (GeometricMask, K3Mask, Opsm, M2po)
every_correction = pytest.mark.parametrize("correction", TOKEN_LOCAL + OF_SEQUENCES, ids=repr)


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


def stale(
    *, cut=slice(None), proximal=PROXIMAL, logprobs=LOGPROBS, advantages=ADVANTAGES, **others
):
    """Two completions that other weights sampled, in a step that has already moved its own."""
    sequences = SEQUENCES[cut]
    one = inputs(logprobs[cut], SAMPLED[cut], advantages[cut], **others)
    return replace(
        one,
        proximal_logprobs_T=None if proximal is None else doubles(proximal[cut]),
        sequence_T=torch.tensor([number - sequences[0] for number in sequences]),
    )


def number(mean):
    return (mean.total / mean.count).item()


def factors(correction, **settings):
    return correction(stale(**settings))[0].tolist()


def test_truncated_weights_by_hand():
    expected = [min(ratio, 1.05) for ratio in RATIOS]
    assert factors(TokenTis(cap=1.05)) == pytest.approx(expected, abs=1e-9)
    expected = [max(ratio, 0.96) for ratio in expected]
    assert factors(TokenTis(cap=1.05, low=0.96)) == pytest.approx(expected, abs=1e-9)


def test_a_token_keeps_its_weight_inside_a_window_only():
    expected = [ratio if 0.9 <= ratio <= 1.1 else 0.0 for ratio in RATIOS]
    found = factors(TokenMask(low=0.9, high=1.1))
    assert found == pytest.approx(expected, abs=1e-9)
    assert found.count(0.0) == 2


@pytest.mark.parametrize(
    ("correction", "first", "second"),
    [
        (SequenceTis(cap=2.0), PRODUCTS[0], PRODUCTS[1]),
        (SequenceTis(cap=1.1), PRODUCTS[0], 1.1),
        (SequenceMask(low=0.5, high=2.0), PRODUCTS[0], PRODUCTS[1]),
        (SequenceMask(low=0.7, high=2.0), 0.0, PRODUCTS[1]),
        (SequenceMask(low=0.5, high=1.1), PRODUCTS[0], 0.0),
        (GeometricMask(), 0.0, 0.0),
        (GeometricMask(low=0.99, high=1.01), 0.0, 0.0),
        (GeometricMask(low=0.909, high=1.044), 1.0, 0.0),
        (GeometricMask(low=0.91, high=1.045), 0.0, 1.0),
        (K3Mask(), 0.0, 1.0),
        (K3Mask(max_k3=0.004), 0.0, 0.0),
        (K3Mask(max_k3=0.0183), 1.0, 1.0),
    ],
    ids=repr,
)
def test_completions_by_hand(correction, first, second):
    assert factors(correction) == pytest.approx([first] * 4 + [second] * 3, abs=1e-9)


def test_a_completion_is_filtered_by_its_mean_and_corrected_by_its_tokens():
    found = factors(SeqMaskTis(low=0.95, high=1.05))
    assert found == pytest.approx([0.0] * 4 + RATIOS[4:], abs=1e-9)
    found = factors(SeqMaskTis(low=0.95, high=1.05, cap=1.1))
    assert found == pytest.approx([0.0] * 4 + [RATIOS[4], 1.1, 1.0], abs=1e-9)


@pytest.mark.parametrize(
    ("advantage", "drift", "kept"),
    [(-1.0, 0.51, 0), (-1.0, 0.5, 1), (0.0, 0.51, 1), (1.0, 0.51, 1), (-1.0, -2.0, 1)],
)
def test_only_what_failed_and_was_left_behind_is_dropped(advantage, drift, kept):
    one = inputs([-2.0, -1.0], [-2.0 + drift + 0.25, -1.0 + drift - 0.25], [advantage] * 2)
    one = replace(one, sequence_T=torch.tensor([0, 0]), proximal_logprobs_T=torch.zeros(2))
    assert Opsm(delta=0.5)(one)[0].tolist() == [kept, kept]
    assert opsm(torch.tensor(advantage), torch.tensor(drift), 0.5).item() == bool(kept)


def test_one_completion_left_behind_does_not_drop_another():
    logprobs = [value - 1 for value in LOGPROBS[:4]] + LOGPROBS[4:]
    found = factors(Opsm(), logprobs=logprobs, advantages=[-1.0] * 7)
    assert found == [0.0] * 4 + [1.0] * 3


@pytest.mark.parametrize(
    ("log_ratios", "tau", "kept"),
    [
        ([0.1, -0.5, 0.2, 0.05], 0.04, [1, 0, 1, 1]),  # 0.25 out: (0.01 + 0.04 + 0.0025) / 3
        ([0.1, -0.3, 0.2, 0.05], 0.04, [1, 1, 1, 1]),  # (0.01 + 0.09 + 0.04 + 0.0025) / 4
        ([-0.5, 0.5, 0.1], 0.15, [1, 0, 1]),  # of equals, the first stays
        ([0.5, -0.6], 0.04, [0, 0]),
        ([0.0, 3.0], 0.04, [1, 0]),
        ([math.inf, 0.1], 0.04, [0, 1]),
        ([], 0.04, []),
    ],
)
def test_the_largest_log_ratios_go_until_the_rest_is_within_the_bound(log_ratios, tau, kept):
    assert m2po_mask(doubles(log_ratios), tau).int().tolist() == kept


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_a_second_moment_is_held_by_the_fewest_masked_tokens(log_ratios, tau):
    squares = doubles(log_ratios).square()
    kept = m2po_mask(doubles(log_ratios), tau)
    assert squares[kept].sum().item() <= tau * kept.sum().item() * (1 + 1e-9)
    if not kept.all():
        smallest = squares[~kept].min()
        assert (squares[kept] <= smallest).all()
        assert (squares[kept].sum() + smallest).item() > tau * (kept.sum().item() + 1) * (1 - 1e-9)


def test_a_second_moment_is_held_in_each_completion_against_the_weights_being_trained():
    one = inputs([0.0, 0.0, 0.0, 0.0], [0.1, -0.5, 0.1, 0.05], [1.0] * 4)
    one = replace(
        one, sequence_T=torch.tensor([0, 0, 1, 1]), proximal_logprobs_T=torch.full((4,), 9.0)
    )
    factor_T, metrics = M2po()(one)
    assert factor_T.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert number(metrics["rollout_corr/m2po_masked_fraction"]) == 0.25


def test_plain_log_ratios_are_enough():
    log_ratios = doubles(RATIOS).log()
    assert tis(log_ratios, 1.05).tolist() == pytest.approx([min(r, 1.05) for r in RATIOS])
    expected = [r if 0.9 <= r <= 1.1 else 0.0 for r in RATIOS]
    assert icepop(log_ratios, 0.9, 1.1).tolist() == pytest.approx(expected)
    found = k3(log_ratios)
    assert [found[:4].mean().item(), found[4:].mean().item()] == pytest.approx(MEAN_K3, abs=1e-8)


def test_ppo_with_truncated_weights_by_hand():
    objective = Objective(loss=Clipped(), corrections=(TokenTis(cap=1.2),))
    output, slopes = gradient(objective, stale())
    assert output.loss.item() == pytest.approx(-0.2621993148, abs=1e-9)
    by_hand = [0.0, -0.1428571429, -0.1428571428, -0.0525542059, 0.0700141909, 0.123803787, 0.0]
    assert slopes == pytest.approx(by_hand, abs=1e-9)


def test_reinforce_with_truncated_weights_by_hand():
    objective = Objective(loss=Reinforce(), corrections=(TokenTis(cap=1.3),))
    output, slopes = gradient(objective, stale(proximal=None))
    weights = [min(math.exp(now - then), 1.3) for now, then in zip(LOGPROBS, SAMPLED, strict=True)]
    pushes = [-w * a / 7 for w, a in zip(weights, ADVANTAGES, strict=True)]
    assert 1.3 in weights
    assert slopes == pytest.approx(pushes, abs=1e-12)
    by_hand = sum(push * logprob for push, logprob in zip(pushes, LOGPROBS, strict=True))
    assert output.loss.item() == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize(
    ("correction", "name", "value"),
    [
        (TokenTis(cap=1.05), "rollout_is_mean", sum(min(r, 1.05) for r in RATIOS) / 7),
        (TokenTis(cap=1.05), "rollout_is_ratio_fraction_high", 2 / 7),
        (TokenTis(cap=1.05), "rollout_is_ratio_fraction_low", 2 / 7),  # under 1 / 1.05
        (TokenTis(cap=1.05, low=0.7), "rollout_is_ratio_fraction_low", 1 / 7),
        (TokenMask(low=0.9, high=1.1), "rollout_is_oob_ratio", 2 / 7),
        (TokenMask(low=0.9, high=1.1), "rollout_is_ratio_fraction_high", 1 / 7),
        (SequenceTis(cap=1.1), "rollout_is_mean", (4 * PRODUCTS[0] + 3 * 1.1) / 7),
        (SequenceTis(cap=1.1), "rollout_is_ratio_fraction_high", 1 / 2),
        (SequenceTis(cap=1.1), "rollout_is_ratio_fraction_low", 1 / 2),
        (SequenceMask(low=0.7), "rollout_rs_seq_sum_k1_masked_fraction", 4 / 7),
        (SequenceMask(low=0.7), "rollout_is_ratio_fraction_low", 1 / 2),
        (GeometricMask(low=0.95, high=1.05), "rollout_rs_seq_mean_k1_masked_fraction", 4 / 7),
        (GeometricMask(low=0.95, high=1.05), "rollout_rs_seq_mean_k1_seq_masked_fraction", 1 / 2),
        (K3Mask(), "rollout_rs_seq_mean_k3_masked_fraction", 4 / 7),
        (SeqMaskTis(low=0.95), "rollout_is_mean", sum(RATIOS[4:]) / 7),
        (SeqMaskTis(low=0.95), "rollout_rs_seq_mean_k1_seq_masked_fraction", 1 / 2),
    ],
    ids=repr,
)
def test_metrics_count_what_was_corrected(correction, name, value):
    _, metrics = correction(stale())
    assert number(metrics[f"rollout_corr/{name}"]) == pytest.approx(value, rel=1e-6)


def test_opsm_counts_what_it_drops():
    _, metrics = Opsm(delta=0.1)(stale(advantages=[-1.0] * 7))
    assert number(metrics["rollout_corr/opsm_masked_fraction"]) == pytest.approx(4 / 7)
    assert number(metrics["rollout_corr/opsm_seq_masked_fraction"]) == pytest.approx(1 / 2)


@every_correction
def test_factors_carry_no_gradient(correction):
    one = stale()
    one.proximal_logprobs_T.requires_grad_()
    assert not correction(one)[0].requires_grad
    assert not correction(replace(one, proximal_logprobs_T=None))[0].requires_grad


@every_correction
def test_on_policy_nothing_changes(correction):
    one = replace(stale(logprobs=SAMPLED), proximal_logprobs_T=doubles(SAMPLED))
    assert correction(one)[0].tolist() == [1.0] * 7


@every_correction
def test_a_cut_between_completions_changes_nothing(correction):
    whole_T, whole = correction(stale())
    halves = [correction(stale(cut=cut)) for cut in (slice(0, 4), slice(4, 7))]
    assert torch.cat([factor_T for factor_T, _ in halves]).tolist() == whole_T.tolist()
    for name, mean in whole.items():
        parts = [metrics[name] for _, metrics in halves]
        assert sum(part.total.item() for part in parts) == pytest.approx(mean.total.item())
        assert sum(part.count.item() for part in parts) == mean.count.item()


@pytest.mark.parametrize("correction", TOKEN_LOCAL, ids=repr)
def test_corrections_of_tokens_know_no_sequences(correction):
    assert not getattr(correction, "whole_sequences", False)
    expected = correction(stale())[0].tolist()
    assert correction(replace(stale(), sequence_T=None))[0].tolist() == expected


@pytest.mark.parametrize("correction", OF_SEQUENCES, ids=repr)
def test_corrections_of_sequences_ask_for_these(correction):
    assert correction.whole_sequences
    with pytest.raises(ValueError, match="sequence_T=None"):
        correction(replace(stale(), sequence_T=None))


@every_correction
def test_a_weight_asks_for_the_proximal_policy_and_a_filter_does_not(correction):
    expected = frozenset() if isinstance(correction, FILTERS) else {"proximal"}
    assert getattr(correction, "needs", frozenset()) == expected


@every_correction
@pytest.mark.parametrize(
    "name", ["logprobs", "sampled_logprobs", "proximal_logprobs", "advantages"]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_stands_outside_the_mask_reaches_nothing(correction, name, value):
    one = stale(mask=[True] * 3 + [False] + [True] * 2 + [False])
    clean_T, clean = correction(one)
    with torch.no_grad():
        getattr(one, f"{name}_T")[[3, 6]] = value
    factor_T, metrics = correction(one)
    assert factor_T.tolist() == clean_T.tolist()
    assert [factor_T[3].item(), factor_T[6].item()] == [0.0, 0.0]
    for key, mean in clean.items():
        assert metrics[key].total.item() == mean.total.item()
        assert metrics[key].count.item() == mean.count.item()


@pytest.mark.parametrize("correction", OF_SEQUENCES, ids=repr)
def test_masked_tokens_are_no_part_of_their_completion(correction):
    masked = correction(stale(mask=[True] * 3 + [False] + [True] * 3))[0].tolist()
    shorter = replace(
        stale(),
        **{
            name: getattr(stale(), name)[[0, 1, 2, 4, 5, 6]]
            for name in (
                "logprobs_T",
                "entropy_T",
                "sampled_logprobs_T",
                "proximal_logprobs_T",
                "advantages_T",
                "weights_T",
                "mask_T",
                "sequence_T",
            )
        },
    )
    assert masked[:3] + masked[4:] == correction(shorter)[0].tolist()


@every_correction
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_ratios_of_any_size_stay_finite(correction, dtype):
    one = inputs([-1e4, 0.0, 0.0], [0.0, -1e4, 0.0], [-1.0, 1.0, 1.0], dtype=dtype)
    factor_T, metrics = correction(replace(one, sequence_T=torch.tensor([0, 1, 2])))
    assert factor_T.dtype == dtype
    assert factor_T.isfinite().all()
    assert all(mean.total.isfinite() for mean in metrics.values())


@every_correction
def test_tokens_that_do_not_train_at_all_are_nothing(correction):
    factor_T, metrics = correction(stale(mask=[False] * 7))
    assert factor_T.tolist() == [0.0] * 7
    assert all(mean.total.item() == 0 == mean.count.item() for mean in metrics.values())


@every_correction
def test_every_metric_is_described(correction):
    assert [name for name in correction(stale())[1] if describe(name) is None] == []


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (TokenTis, {"cap": 0.9}),
        (TokenTis, {"cap": float("nan")}),
        (TokenTis, {"low": 1.1}),
        (TokenTis, {"low": -0.1}),
        (SequenceTis, {"cap": 0.0}),
        (TokenMask, {"low": 1.5}),
        (TokenMask, {"high": 0.9}),
        (TokenMask, {"low": float("nan")}),
        (SequenceMask, {"high": float("nan")}),
        (GeometricMask, {"low": 1.0001}),
        (SeqMaskTis, {"high": 0.9}),
        (SeqMaskTis, {"cap": 0.9}),
        (K3Mask, {"max_k3": 0.0}),
        (K3Mask, {"max_k3": float("nan")}),
        (Opsm, {"delta": -0.1}),
        (Opsm, {"delta": float("nan")}),
        (M2po, {"max_second_moment": 0.0}),
        (M2po, {"max_second_moment": float("nan")}),
    ],
)
def test_settings_that_mean_nothing_are_refused(kind, settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(ValueError, match=f"{name}={value}.*take"):
        kind(**settings)
