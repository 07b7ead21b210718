"""The fused head: hidden states to a loss and its gradients, with no ``[T, V]`` of logits.

Chunk by chunk of rows: one GEMM to logits; log-sum-exp, the target's log-prob and the entropy; the
loss's own derivatives with respect to those two numbers per token; the chunk's logits turned into
their gradient; two GEMMs. That is 6 T H V flops, the least there is (a rematerialising backward
takes 8), and memory for ``chunk * V`` numbers.

Because the gradients are made in the forward pass, the loss must be token-local: a token's share
may depend on that token alone. In return any such loss works here as plain torch.

Names of tensors end in what they are indexed by:
    T  tokens     H  hidden size     V  vocabulary     C  rows of one chunk
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor


class Mean(Protocol):
    """A metric as its sum and its count."""

    @property
    def total(self) -> Tensor: ...
    @property
    def count(self) -> Tensor: ...


class Share(Protocol):
    """What a token loss makes of some tokens."""

    @property
    def loss(self) -> Tensor: ...
    @property
    def metrics(self) -> Mapping[str, Mean]: ...


TokenLoss = Callable[[slice, Tensor, Tensor], Share]
"""``(rows, logprobs_C, entropy_C) -> share``; ``rows`` says which of the T tokens they are."""

Totals = dict[str, tuple[Tensor, Tensor]]
"""Metrics summed over chunks, each as ``(total, count)``."""


@dataclass(frozen=True, slots=True)
class HeadOutput:
    loss: Tensor
    """Sum of the chunks' shares (scalar); carries the gradient."""
    logprobs_T: Tensor
    """Of each target (nats); no gradient."""
    entropy_T: Tensor
    """Of the distribution that each target was drawn from (nats); no gradient."""
    metrics: Totals


def fused_head(
    hidden_TH: Tensor,
    weight_VH: Tensor,
    targets_T: Tensor,
    token_loss: TokenLoss,
    *,
    temperature: float = 1.0,
    chunk: int = 1024,
) -> HeadOutput:
    """The loss over ``softmax(hidden @ weight.T / temperature)``, ready to be back-propagated.

    Statistics are fp32 (float64 for float64 input), the GEMMs are in the input's type, and the
    weight's gradient is summed over chunks in fp32. A row to which the loss gives no gradient
    costs no backward GEMM. The gradients exist once: a second backward raises RuntimeError.

    Raises:
        ValueError: shapes that do not fit, or a temperature or a chunk that is not positive.
    """
    _check(hidden_TH, weight_VH, targets_T, temperature, chunk)
    metrics: Totals = {}
    applied = _FusedHead.apply(  # pyright: ignore[reportUnknownMemberType]
        hidden_TH, weight_VH, targets_T, token_loss, temperature, chunk, metrics
    )
    loss, logprobs_T, entropy_T = cast(tuple[Tensor, Tensor, Tensor], applied)
    return HeadOutput(loss, logprobs_T, entropy_T, metrics)


@torch.no_grad()
def logprobs(
    hidden_TH: Tensor,
    weight_VH: Tensor,
    targets_T: Tensor,
    *,
    temperature: float = 1.0,
    chunk: int = 1024,
) -> tuple[Tensor, Tensor]:
    """Log-prob of each target and entropy of its distribution, both ``[T]`` in nats."""
    _check(hidden_TH, weight_VH, targets_T, temperature, chunk)
    rows_of = _Rows(hidden_TH, weight_VH, chunk)
    tokens = hidden_TH.shape[0]
    logprobs_T = hidden_TH.new_empty(tokens, dtype=rows_of.dtype)
    entropy_T = torch.empty_like(logprobs_T)
    for rows in _chunks(tokens, chunk):
        logits_CV = rows_of.logits(rows)
        exponents_CV = rows_of.work(rows)
        logprobs_T[rows], entropy_T[rows], _ = statistics(
            logits_CV, exponents_CV, targets_T[rows], temperature
        )
    return logprobs_T, entropy_T


def statistics(
    logits_CV: Tensor, exponents_CV: Tensor, targets_C: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``(logprobs_C, entropy_C, sums_C)`` of a chunk.

    Leaves ``logits_CV`` scaled and shifted so that each row's largest is 0, and fills
    ``exponents_CV`` with its exponentials, whose row sums are ``sums_C``.
    """
    if temperature != 1.0:
        logits_CV.div_(temperature)
    logits_CV.sub_(logits_CV.amax(dim=-1, keepdim=True))
    torch.exp(logits_CV, out=exponents_CV)
    sums_C = exponents_CV.sum(dim=-1)
    log_sums_C = sums_C.log()
    # As a batched product, for it needs no third [C, V] array.
    dots_C = torch.bmm(exponents_CV.unsqueeze(1), logits_CV.unsqueeze(2)).flatten()
    logprobs_C = logits_CV.gather(1, targets_C.unsqueeze(1)).squeeze(1) - log_sums_C
    return logprobs_C, log_sums_C - dots_C / sums_C, sums_C


def logits_gradient(
    logits_CV: Tensor,
    exponents_CV: Tensor,
    sums_C: Tensor,
    targets_C: Tensor,
    entropy_C: Tensor,
    slopes: tuple[Tensor, Tensor | None],
    temperature: float,
) -> Tensor:
    """Gradient with respect to the raw logits, written over ``exponents_CV``.

    With p the probabilities, h the entropy, a and b the loss's slopes along the target's log-prob
    and along h:  dL/dz_j = (a (1[j = target] - p_j) - b p_j (log p_j + h)) / temperature.
    """
    along_logprob_C, along_entropy_C = slopes
    if along_entropy_C is not None:
        offset_C = entropy_C - sums_C.log() + along_logprob_C / along_entropy_C
        # b == 0 in some row would divide by zero there; such rows take the other form.
        flat_C = along_entropy_C == 0
        logits_CV.add_(offset_C.masked_fill(flat_C, 0.0).unsqueeze(1))
        logits_CV.mul_(along_entropy_C.unsqueeze(1))
        logits_CV.add_(along_logprob_C.where(flat_C, torch.zeros_like(sums_C)).unsqueeze(1))
        exponents_CV.mul_(logits_CV).mul_((-1.0 / (sums_C * temperature)).unsqueeze(1))
    else:
        exponents_CV.mul_((-along_logprob_C / (sums_C * temperature)).unsqueeze(1))
    exponents_CV.scatter_add_(
        1, targets_C.unsqueeze(1), (along_logprob_C / temperature).unsqueeze(1)
    )
    return exponents_CV
