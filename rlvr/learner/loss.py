"""The contract of a policy loss, and the sums that all of them share.

Names of tensors end in what they are indexed by: T, completion tokens of one chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInputs:
    """Some tokens of the batch. Tokens that do not train are there, under a False mask."""

    logprobs_T: Tensor
    """Of each token under the weights being trained; carries the gradient (nats)."""
    entropy_T: Tensor
    """Of the distribution that each token was drawn from; carries the gradient (nats)."""
    sampled_logprobs_T: Tensor
    """Of each token under the weights that sampled it (nats)."""
    advantages_T: Tensor
    weights_T: Tensor
    """How much each token counts. The aggregation and its one global denominator are in here:
    1/N for a mean over the N tokens of the whole batch, 1/(B*L) for a mean of sequence means."""
    mask_T: Tensor
    """Bool, True on the tokens that train."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A metric as its sum and its count, so that it stays exact over micro-batches and ranks."""

    total: Tensor
    count: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOutput:
    loss: Tensor
    """These tokens' share (scalar): the shares of a batch add up to its loss."""
    metrics: dict[str, Mean]


class PolicyLoss(Protocol):
    """Token-local: a token's share depends on that token alone, so any chunking gives the same."""

    def __call__(self, inputs: LossInputs) -> LossOutput: ...


def masked(values_T: Tensor, mask_T: Tensor) -> Tensor:
    """Zero outside the mask, with no gradient and no NaN coming from there."""
    return torch.where(mask_T, values_T, torch.zeros_like(values_T))


def masked_mean(values_T: Tensor, mask_T: Tensor) -> Mean:
    """A per-token metric over the tokens that train."""
    return Mean(masked(values_T.detach().float(), mask_T).sum(), mask_T.sum())
