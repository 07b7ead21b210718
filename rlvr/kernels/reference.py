"""The head in plain float64 torch: what every faster version is held against."""

from __future__ import annotations

import torch
from torch import Tensor

from rlvr.kernels.head import TokenLoss


def reference_statistics(
    hidden_TH: Tensor, weight_VH: Tensor, targets_T: Tensor, *, temperature: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-prob of each target and entropy of its distribution, ``[T]`` in nats; differentiable."""
    if isinstance(temperature, Tensor):
        temperature = temperature.unsqueeze(1)
    logits_TV = hidden_TH.double() @ weight_VH.double().t() / temperature
    log_p_TV = torch.log_softmax(logits_TV, dim=-1)
    logprobs_T = log_p_TV.gather(1, targets_T.unsqueeze(1)).squeeze(1)
    return logprobs_T, -(log_p_TV.exp() * log_p_TV).sum(dim=-1)


def reference_head(
    hidden_TH: Tensor,
    weight_VH: Tensor,
    targets_T: Tensor,
    token_loss: TokenLoss,
    *,
    temperature: Tensor | float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """``(loss, logprobs_T, entropy_T)``, all under autograd, with the whole of the logits."""
    logprobs_T, entropy_T = reference_statistics(
        hidden_TH, weight_VH, targets_T, temperature=temperature
    )
    share = token_loss(slice(0, targets_T.shape[0]), logprobs_T, entropy_T)
    return share.loss, logprobs_T, entropy_T
