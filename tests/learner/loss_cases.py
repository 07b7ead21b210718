"""Two completions of 4 and 3 tokens, and what a loss makes of some tokens."""

import torch

from rlvr.learner.loss import LossInputs

LOGPROBS = [-0.5, -1.2, -0.3, -2.0, -0.7, -0.9, -1.1]
SAMPLED = [-0.7, -1.25, -0.25, -1.4, -0.7, -1.3, -0.8]
ADVANTAGES = [1.0] * 4 + [-0.5] * 3


def inputs(
    logprobs, sampled, advantages, *, mask=None, weights=None, dtype=torch.float64
) -> LossInputs:
    count = len(logprobs)
    return LossInputs(
        logprobs_T=torch.tensor(logprobs, dtype=dtype, requires_grad=True),
        entropy_T=torch.full((count,), 0.5, dtype=dtype, requires_grad=True),
        sampled_logprobs_T=torch.tensor(sampled, dtype=dtype),
        advantages_T=torch.tensor(advantages, dtype=dtype),
        weights_T=torch.tensor(weights or [1 / count] * count, dtype=dtype),
        mask_T=torch.tensor(mask or [True] * count),
    )


def gradient(loss, one):
    output = loss(one)
    output.loss.backward()
    return output, one.logprobs_T.grad.tolist()


def mean(output, name):
    return (output.metrics[name].total / output.metrics[name].count).item()
