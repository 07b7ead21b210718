"""The fused head under a loss that is not token-local.

The loss is asked once, on numbers from a first pass over the logits (two flops in six more), and
its slopes make the token-local loss of the second. Names of tensors end as those of ``head`` do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rlvr.kernels.head import (
    HeadOutput,
    Mean,
    Share,
    TokenLoss,
    Totals,
    add_up,
    fused_head,
    logprobs,
    share_and_slopes,
)


def fused_head_of_sequences(
    hidden_TH: Tensor,
    weight_VH: Tensor,
    targets_T: Tensor,
    loss: TokenLoss,
    *,
    temperature: Tensor | float = 1.0,
    chunk: int = 1024,
) -> HeadOutput:
    """As ``fused_head``, for a loss that has to see all T tokens at once."""
    logprobs_T, entropy_T = logprobs(
        hidden_TH, weight_VH, targets_T, temperature=temperature, chunk=chunk
    )
    every = slice(0, len(logprobs_T))
    share, (along_logprob_T, along_entropy_T) = share_and_slopes(loss, every, logprobs_T, entropy_T)

    def linear(rows: slice, logprobs_C: Tensor, entropy_C: Tensor) -> Share:
        value = _dot(along_logprob_T[rows], logprobs_C)
        if along_entropy_T is not None:
            value = value + _dot(along_entropy_T[rows], entropy_C)
        return _Slope(value, {})

    output = fused_head(
        hidden_TH, weight_VH, targets_T, linear, temperature=temperature, chunk=chunk
    )
    metrics: Totals = {}
    add_up(metrics, share.metrics)
    # The value of the loss itself, with the gradient of its tangent.
    value = output.loss - output.loss.detach() + share.loss.detach()
    return HeadOutput(value, logprobs_T, entropy_T, metrics)


@dataclass(frozen=True, slots=True)
class _Slope:
    """A loss that is linear in log-probs and entropies, in the place of one that is not local."""

    loss: Tensor
    metrics: Mapping[str, Mean]


def _dot(slopes_C: Tensor, values_C: Tensor) -> Tensor:
    """Where a slope is 0 its value counts for nothing, even one that is no number."""
    return torch.where(slopes_C != 0, slopes_C * values_C, 0.0).sum()
