"""A bound on the second moment of the log-ratios, kept by leaving out the largest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlvr.learner.importance import MAX_LOG_RATIO
from rlvr.learner.loss import LossInputs, Mean, masked, masked_mean
from rlvr.learner.sequences import Sequences


def m2po_mask(log_ratios_T: Tensor, tau: float) -> Tensor:
    """Bool ``[T]``, True on the tokens that stay: as many as can be, smallest (log ratio)**2 first,
    with a mean of at most ``tau`` (nats**2); none where even the smallest is larger.

    Over all tokens of a batch it is the paper's; ``M2po`` takes those of each completion apart.
    """
    return _keep(log_ratios_T, torch.zeros_like(log_ratios_T, dtype=torch.int64), tau)


@dataclass(frozen=True, slots=True, kw_only=True)
class M2po:
    """M2PO (arXiv:2510.01161): 1 on tokens whose (log r)**2 average at most
    ``max_second_moment``, 0 on those with the largest; r = current / sampled probability.

    The paper bounds the mean over a whole batch, which would make a token's share depend on the
    micro-batch that it happens to be in. Here the bound holds within each completion, and so over
    any batch of them: a token depends on its own completion alone. A batch whose mean is inside the
    bound can lose tokens of its worst completions, which the paper's would keep.
    """

    max_second_moment: float = 0.04
    """The paper's tau, in nats squared."""

    whole_sequences: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.max_second_moment > 0:
            raise ValueError(
                f"max_second_moment={self.max_second_moment}: at 0 or less every token that moved "
                "would be dropped; take more than 0 (0.04 is the paper's)"
            )

    def __call__(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Mean]]:
        index_T, mask_T = Sequences(inputs).index_T, inputs.mask_T
        log_ratio_T = inputs.logprobs_T.detach() - inputs.sampled_logprobs_T
        keep_T = torch.zeros_like(mask_T)
        keep_T[mask_T] = _keep(log_ratio_T[mask_T], index_T[mask_T], self.max_second_moment)
        factor_T = masked(torch.ones_like(inputs.weights_T), keep_T)
        return factor_T, {"rollout_corr/m2po_masked_fraction": masked_mean(~keep_T, mask_T)}


def _keep(log_ratios_T: Tensor, sequence_T: Tensor, tau: float) -> Tensor:
    """Which tokens stay in each sequence. Running means of what is sorted only rise, so the ones
    to keep are those at which the mean is still at most tau."""
    squares_T = log_ratios_T.detach().double().clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).square()
    by_size_T = squares_T.argsort(stable=True)
    order_T = by_size_T[sequence_T[by_size_T].argsort(stable=True)]
    sorted_T = squares_T[order_T]
    lengths_B = torch.bincount(sequence_T)
    first_B = lengths_B.cumsum(0) - lengths_B
    first_T = first_B.repeat_interleave(lengths_B)
    total_T = sorted_T.cumsum(0)
    before_T = torch.cat([total_T.new_zeros(1), total_T])[first_T]
    count_T = torch.arange(1, len(order_T) + 1, device=order_T.device) - first_T
    mean_T = (total_T - before_T) / count_T
    keep_T = torch.empty_like(order_T, dtype=torch.bool)
    keep_T[order_T] = mean_T <= tau
    return keep_T
