"""How far the trained policy is from the sampler."""

from dataclasses import replace

import pytest
import torch

from rlvr.learner.diagnostics import derived, measure, statistics
from rlvr.metrics import describe
from tests.learner.loss_cases import ADVANTAGES, LOGPROBS, inputs

TRAINED = [-0.7, -1.25, -0.25, -1.4, -0.7, -1.3, -0.8]
SAMPLED = [-0.72, -1.2, -0.3, -1.0, -0.68, -1.45, -0.8]
BY_HAND = {
    "kl": 0.0357142857,
    "k3_kl": 0.012150689,
    "ratio_mean": sum([1.02020134, 0.9512294245, 1.0512710964, 0.670320046]) / 7
    + sum([0.9801986733, 1.1618342427, 1.0]) / 7,
    "chi2_token": -0.027029097,
    "chi2_seq": -0.1177017432,
    "rollout_is_eff_sample_size": 0.9799142469,
    "training_ppl": 2.5012873745,
    "rollout_ppl": 2.446143003,
    "training_log_ppl": (0.9 + 2.8 / 3) / 2,
    "rollout_log_ppl": (0.805 + 2.93 / 3) / 2,
    "ppl_ratio": (1 / 0.9093729345 + 1 / 1.0442859322) / 2,
    "log_ppl_diff": (0.095 - 0.13 / 3) / 2,
    "log_ppl_abs_diff": (0.095 + 0.13 / 3) / 2,
    "ratio_fraction_above_2": 0.0,
    "ratio_fraction_below_half": 0.0,
    "log_ratio_abs_max": 0.4,
    "log_ppl_diff_max": 0.095,
    "seq_geometric_log_ratio_max": 0.13 / 3,
    "seq_log_ratio_abs_max": 0.38,
}


def plain(trained=TRAINED, sampled=SAMPLED, *, mask=None, sequences=(0, 0, 0, 0, 1, 1, 1)):
    return statistics(
        trained_T=torch.tensor(trained, dtype=torch.float64),
        sampled_T=torch.tensor(sampled, dtype=torch.float64),
        mask_T=torch.tensor(mask or [True] * len(trained)),
        sequence_T=torch.tensor(sequences),
    )


def stale(cut=slice(None)):
    sequences = [0, 0, 0, 0, 1, 1, 1][cut]
    one = inputs(LOGPROBS[cut], SAMPLED[cut], ADVANTAGES[cut])
    return replace(
        one,
        proximal_logprobs_T=torch.tensor(TRAINED[cut], dtype=torch.float64),
        sequence_T=torch.tensor(sequences) - sequences[0],
    )


def test_statistics_by_hand():
    expected = {f"rollout_corr/{name}": value for name, value in BY_HAND.items()}
    assert plain() == pytest.approx(expected, abs=1e-9)


def test_ratios_beyond_a_factor_of_two_are_counted():
    trained, sampled = [0.0, -0.1, -1.0, 0.0, -0.2], [-0.7, -0.9, -0.3, -0.69, -0.2]
    found = plain(trained, sampled, sequences=[0, 0, 1, 1, 1])
    assert found["rollout_corr/ratio_fraction_above_2"] == 0.4
    assert found["rollout_corr/ratio_fraction_below_half"] == 0.2
    assert found["rollout_corr/log_ratio_abs_max"] == pytest.approx(0.8)


def test_a_policy_is_at_no_distance_from_itself():
    found = plain(sampled=TRAINED)
    for name in ("kl", "k3_kl", "chi2_token", "chi2_seq", "log_ppl_diff", "log_ratio_abs_max"):
        assert found[f"rollout_corr/{name}"] == 0
    assert found["rollout_corr/rollout_is_eff_sample_size"] == 1
    assert found["rollout_corr/ppl_ratio"] == 1


def test_the_weights_that_the_step_starts_from_are_measured_where_they_are_known():
    means, _ = measure(stale())
    assert means["rollout_corr/kl"].total.item() / 7 == pytest.approx(0.0357142857)
    means, _ = measure(replace(stale(), proximal_logprobs_T=None))
    kl = sum(then - now for now, then in zip(LOGPROBS, SAMPLED, strict=True)) / 7
    assert means["rollout_corr/kl"].total.item() / 7 == pytest.approx(kl)


def test_a_cut_between_completions_changes_nothing():
    whole, largest = measure(stale())
    halves = [measure(stale(cut)) for cut in (slice(0, 4), slice(4, 7))]
    for name, mean in whole.items():
        parts = [means[name] for means, _ in halves]
        assert sum(part.total.item() for part in parts) == pytest.approx(mean.total.item())
        assert sum(part.count.item() for part in parts) == mean.count.item()
    for name, value in largest.items():
        assert max(maxima[name].item() for _, maxima in halves) == value.item()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_stands_outside_the_mask_reaches_nothing(value):
    mask = [True] * 4 + [False] * 3
    trained, sampled = [*TRAINED[:4], value, -1.0, -1.0], [*SAMPLED[:4], -1.0, value, -1.0]
    found = plain(trained, sampled, mask=mask)
    assert found == plain(TRAINED[:4], SAMPLED[:4], sequences=[0] * 4)


def test_moments_of_any_ratio_stay_finite():
    one = inputs([-1e4, 0.0], [0.0, -1e4], [1.0, 1.0], dtype=torch.float32)
    means, _ = measure(replace(one, sequence_T=torch.tensor([0, 1])))
    for name in ("k3_kl", "ratio_mean", "chi2_token", "chi2_seq"):
        assert means[f"rollout_corr/{name}"].total.isfinite()


def test_a_micro_batch_that_trains_nothing_adds_nothing():
    one = inputs([-1.0], [-2.0], [1.0], mask=[False])
    means, maxima = measure(replace(one, sequence_T=torch.tensor([0])))
    assert all(mean.total.item() == 0 == mean.count.item() for mean in means.values())
    assert all(value.item() == -torch.inf for value in maxima.values())


def test_nothing_measured_carries_a_gradient():
    means, maxima = measure(replace(stale(), proximal_logprobs_T=None))
    assert not any(mean.total.requires_grad for mean in means.values())
    assert not any(value.requires_grad for value in maxima.values())


def test_the_effective_sample_size_is_derived_from_means_over_everything():
    found = derived({"rollout_corr/ratio_mean": 1.5, "rollout_corr/chi2_token": 3.5})
    assert found == {"rollout_corr/rollout_is_eff_sample_size": 0.5}


def test_every_metric_is_described():
    assert [name for name in plain() if describe(name) is None] == []
