"""The contract of a policy loss, and the sums that all of them share.

Names of tensors end in what they are indexed by: T, completion tokens of one chunk, or of whole
sequences for a loss that asks for these; B, those sequences.
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
    sequence_T: Tensor | None = None
    """Of each token, which sequence it belongs to: 0, 1, 2 ... with the tokens of each together."""
    sequences: int | None = None
    """How many these are. Without it they are counted, which waits for the device."""
    proximal_logprobs_T: Tensor | None = None
    """Of each token under the weights before the step's first update (nats). Where there are some,
    ratios are against these and no longer against ``sampled_logprobs_T``."""
    reference_logprobs_T: Tensor | None = None
    """Of each token under the reference policy (nats)."""
    correct_weights_T: Tensor | None = None
    """As ``weights_T``, had the batch only the samples that the verifier called correct; 0 on the
    others."""
    lag_T: Tensor | None = None
    """Optimizer steps between the weights that sampled each token and the proximal ones."""


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
    """Token-local: a token's share depends on that token alone, so any chunking gives the same.

    A loss that is not says so in the class attribute ``whole_sequences = True``: it is called with
    all tokens of some sequences and finds ``sequence_T`` filled in. One that compares pairs adds
    ``pairs = True``: sequences 2i and 2i + 1 then are the better and the worse rollout of a
    problem. What it cannot do without it lists in ``needs``: ``proximal``, ``reference``.
    ``uses_ratio = True`` says that it weighs tokens by their ratio to the old policy, and so may
    not be corrected for the sampler where the sampler is the old policy.
    """

    def __call__(self, inputs: LossInputs) -> LossOutput: ...


class Correction(Protocol):
    """Weights tokens for having been sampled by another policy than the one that is trained.

    Marked ``whole_sequences`` as a loss is.
    """

    def __call__(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Mean]]:
        """A constant factor ``[T]`` on each token's share of the loss, 0 to leave it out (it stays
        in the denominator), and metrics."""
        ...


def masked(values_T: Tensor, mask_T: Tensor) -> Tensor:
    """Zero outside the mask, with no gradient and no NaN coming from there."""
    return torch.where(mask_T, values_T, torch.zeros_like(values_T))


def masked_mean(values_T: Tensor, mask_T: Tensor) -> Mean:
    """A per-token metric over the tokens that train."""
    return Mean(masked(values_T.detach().float(), mask_T).sum(), mask_T.sum())
