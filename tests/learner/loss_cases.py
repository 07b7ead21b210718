"""Two completions of 4 and 3 tokens, and what a loss makes of some tokens."""

import torch

from rlvr.learner.loss import LossInputs

LOGPROBS = [-0.5, -1.2, -0.3, -2.0, -0.7, -0.9, -1.1]
SAMPLED = [-0.7, -1.25, -0.25, -1.4, -0.7, -1.3, -0.8]
ADVANTAGES = [1.0] * 4 + [-0.5] * 3
LENGTHS = [4, 3]
# Those that sampled before the weights that SAMPLED then are of, and those of a reference policy.
BEHAVIOUR = [-0.72, -1.2, -0.3, -1.0, -0.68, -1.45, -0.8]
REFERENCE = [-0.8, -1.0, -0.3, -1.5, -0.6, -1.0, -1.2]
SEQUENCE_MEAN = [1 / 8] * 4 + [1 / 6] * 3
"""Weights of the aggregation ``seq-mean-token-mean``."""
SEQUENCE_SUM = [1 / 2] * 7
"""Weights of the aggregation ``seq-mean-token-sum``."""


def inputs(
    logprobs,
    sampled,
    advantages,
    *,
    mask=None,
    weights=None,
    dtype=torch.float64,
    lengths=None,
    proximal=None,
    reference=None,
    correct_weights=None,
    lag=None,
) -> LossInputs:
    count = len(logprobs)

    def constant(values):
        return None if values is None else torch.tensor(values, dtype=dtype)

    return LossInputs(
        logprobs_T=torch.tensor(logprobs, dtype=dtype, requires_grad=True),
        entropy_T=torch.full((count,), 0.5, dtype=dtype, requires_grad=True),
        sampled_logprobs_T=torch.tensor(sampled, dtype=dtype),
        advantages_T=torch.tensor(advantages, dtype=dtype),
        weights_T=torch.tensor(weights or [1 / count] * count, dtype=dtype),
        mask_T=torch.tensor(mask or [True] * count),
        sequence_T=None if lengths is None else sequence_of(lengths),
        proximal_logprobs_T=constant(proximal),
        reference_logprobs_T=constant(reference),
        correct_weights_T=constant(correct_weights),
        lag_T=constant(lag),
    )


def sequence_of(lengths):
    return torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))


def gradient(loss, one):
    output = loss(one)
    output.loss.backward()
    return output, one.logprobs_T.grad.tolist()


def mean(output, name):
    return (output.metrics[name].total / output.metrics[name].count).item()


def measured_slopes(loss, one, step=1e-6):
    """The gradient by central differences, wherever the loss has no constant factor in it."""
    slopes = []
    for index in range(len(one.logprobs_T)):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                one.logprobs_T[index] += sign * step
            ends.append(loss(one).loss.item())
            with torch.no_grad():
                one.logprobs_T[index] -= sign * step
        slopes.append((ends[0] - ends[1]) / (2 * step))
    return slopes
