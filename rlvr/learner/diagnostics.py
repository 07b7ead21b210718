"""How far the trained policy is from the one that sampled: measured, whatever is done about it.

The log-ratio of a token is its trained minus its sampled log-prob (nats), and w its exponential.
Trained are the weights that a step starts from where their log-probs are known, and else those
being trained.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rlvr.learner.corrections.sequence_filter import k3
from rlvr.learner.importance import behaviour_log_ratios, ratios
from rlvr.learner.loss import LossInputs, Mean, masked
from rlvr.learner.sequences import Sequences

PREFIX = "rollout_corr/"
RATIO = f"{PREFIX}ratio_mean"
CHI2_TOKEN = f"{PREFIX}chi2_token"
ESS = f"{PREFIX}rollout_is_eff_sample_size"
FAR = 2.0


def measure(inputs: LossInputs) -> tuple[dict[str, Mean], dict[str, Tensor]]:
    """Means over trained tokens or sequences, and maxima; ``derived`` makes the rest of the means.

    In float64, as a few large ratios dominate the moments. A maximum over nothing is -inf.

    Raises:
        ValueError: ``sequence_T`` is None.
    """
    sequences = Sequences(inputs)
    mask_T = inputs.mask_T
    log_T = behaviour_log_ratios(inputs).detach().double()
    sampled_T = masked(inputs.sampled_logprobs_T.detach().double(), mask_T)
    log_mean_B, log_sum_B = sequences.means(log_T), sequences.sums(log_T)
    nll_sampled_B = -sequences.means(sampled_T)
    nll_trained_B = -sequences.means(sampled_T + log_T)
    w_T = ratios(log_T)
    per_token = {
        "kl": -log_T,
        "k3_kl": k3(log_T),
        "ratio_mean": w_T,
        "chi2_token": w_T.square() - 1,
        "ratio_fraction_above_2": w_T > FAR,
        "ratio_fraction_below_half": w_T < 1 / FAR,
    }
    per_sequence = {
        "chi2_seq": ratios(log_sum_B).square() - 1,
        "training_ppl": nll_trained_B.exp(),
        "training_log_ppl": nll_trained_B,
        "rollout_ppl": nll_sampled_B.exp(),
        "rollout_log_ppl": nll_sampled_B,
        "ppl_ratio": (-log_mean_B).exp(),
        "log_ppl_diff": -log_mean_B,
        "log_ppl_abs_diff": log_mean_B.abs(),
    }
    trains_B = sequences.trains_B
    means = {name: _mean(values_T, mask_T) for name, values_T in per_token.items()}
    means |= {name: _mean(values_B, trains_B) for name, values_B in per_sequence.items()}
    maxima = {
        "log_ratio_abs_max": _largest(log_T.abs(), mask_T),
        "log_ppl_diff_max": _largest(-log_mean_B, trains_B),
        "seq_geometric_log_ratio_max": _largest(log_mean_B, trains_B),
        "seq_log_ratio_abs_max": _largest(log_sum_B.abs(), trains_B),
    }
    return (
        {PREFIX + name: mean for name, mean in means.items()},
        {PREFIX + name: value for name, value in maxima.items()},
    )


def derived(means: Mapping[str, float]) -> dict[str, float]:
    """What is a function of means over everything and no mean itself: the share of tokens that
    would carry as much information unweighted, mean(w)**2 / mean(w**2)."""
    return {ESS: means[RATIO] ** 2 / (means[CHI2_TOKEN] + 1)}


def statistics(
    *, trained_T: Tensor, sampled_T: Tensor, mask_T: Tensor, sequence_T: Tensor
) -> dict[str, float]:
    """All of them as numbers, from the log-probs ``[T]`` of two policies.

    ``mask_T`` is True on the tokens that count and ``sequence_T`` numbers the sequence of each.
    """
    means, maxima = measure(
        LossInputs(
            logprobs_T=trained_T,
            entropy_T=trained_T,
            sampled_logprobs_T=sampled_T,
            advantages_T=trained_T,
            weights_T=torch.ones_like(trained_T),
            mask_T=mask_T,
            sequence_T=sequence_T,
        )
    )
    numbers = {name: (mean.total / mean.count).item() for name, mean in means.items()}
    largest = {name: value.item() for name, value in maxima.items()}
    return {**numbers, **derived(numbers), **largest}


def _mean(values: Tensor, population: Tensor) -> Mean:
    return Mean(masked(values.double(), population).sum(), population.sum())


def _largest(values: Tensor, population: Tensor) -> Tensor:
    nothing = values.new_full((1,), -torch.inf)
    return torch.cat([nothing, values.where(population, nothing)]).max()
