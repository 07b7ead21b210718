"""Importance ratios between the policies of a step, and what the losses make of them.

Three policies: the behaviour policy sampled, the proximal one is where the step starts, the current
one is being trained. Without log-probs of the proximal policy the behaviour policy stands for it.
"""

from __future__ import annotations

from torch import Tensor

from rlvr.learner.loss import LossInputs, Mean, masked, masked_mean

MAX_LOG_RATIO = 20.0
"""Keeps ``exp`` finite; a ratio that large is a disagreement on the weights, no policy update."""


def log_ratios(inputs: LossInputs) -> Tensor:
    """Current minus proximal log-prob ``[T]`` (nats); 0 outside the mask."""
    proximal_T = inputs.proximal_logprobs_T
    old_T = inputs.sampled_logprobs_T if proximal_T is None else proximal_T
    return masked(inputs.logprobs_T - old_T, inputs.mask_T)


def sampled_log_ratios(inputs: LossInputs) -> Tensor:
    """Current minus behaviour log-prob ``[T]`` (nats), whatever the proximal policy is, for the
    losses that anchor at the sampler itself; 0 outside the mask."""
    return masked(inputs.logprobs_T - inputs.sampled_logprobs_T, inputs.mask_T)


def behaviour_log_ratios(inputs: LossInputs) -> Tensor:
    """Proximal minus behaviour log-prob ``[T]`` (nats, constant); 0 outside the mask. Where the
    proximal policy is unknown, the current one takes its place."""
    proximal_T = inputs.proximal_logprobs_T
    trained_T = inputs.logprobs_T.detach() if proximal_T is None else proximal_T
    return masked(trained_T - inputs.sampled_logprobs_T, inputs.mask_T)


def ratios(log_ratio_T: Tensor) -> Tensor:
    """Their exponentials ``[T]``, always finite; no gradient where that needed a bound."""
    return log_ratio_T.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def score_loss(inputs: LossInputs, factor_T: Tensor) -> Tensor:
    """Share (scalar) of -factor A logprob, REINFORCE with a constant factor ``[T]`` per token."""
    advantages_T = masked(inputs.advantages_T, inputs.mask_T)
    weights_T = masked(inputs.weights_T, inputs.mask_T)
    logprobs_T = masked(inputs.logprobs_T, inputs.mask_T)
    return -(factor_T.detach() * advantages_T * logprobs_T * weights_T).sum()


def ratio_metrics(inputs: LossInputs, log_ratio_T: Tensor) -> dict[str, Mean]:
    """What every loss reports: distance from the samples, mean ratio, entropy."""
    return {
        "actor/ppo_kl": masked_mean(-log_ratio_T, inputs.mask_T),
        "actor/ratio_mean": masked_mean(ratios(log_ratio_T), inputs.mask_T),
        "actor/entropy": masked_mean(inputs.entropy_T, inputs.mask_T),
    }
