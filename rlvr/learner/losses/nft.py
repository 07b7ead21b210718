"""Likelihood of right answers, and of wrong ones under the policy that would have given them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlvr.learner.importance import log_ratios, ratio_metrics
from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean

MAX_LOG_RATIO = 10.0
LOWEST_PASS_RATE = 0.02
NORMALIZE = ("none", "dr_grpo", "grpo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nft:
    """NFT (arXiv:2505.18116). Takes the advantages of ``DrGrpo`` on rewards of 0 and 1, and no
    others: they are 1 - p of a right answer and -p of a wrong one, p being the problem's pass rate,
    which is read back from them (within [0.02, 0.98]). A problem with a rate of 0 or 1 has
    advantages of 0 and teaches nothing; the paper's code leaves it out when it samples, and would
    train on it, at the bound, if it did not.

    Per token, with r = exp(logprob - old logprob), the proximal one where given and else the
    sampled one, q = (1 - p r) / (1 - p) and the problem's weight c: -c log r of a right answer,
    -negative_weight c log max(q, floor) of a wrong one. The maximum bounds the value and lets the
    gradient of q through.
    """

    uses_ratio: ClassVar[bool] = True

    normalize: str = "dr_grpo"
    """The weight c: 1 - p (``dr_grpo``), with which the on-policy gradient is DrGrpo's;
    sqrt((1 - p) / p) (``grpo``), with which it is that of Grpo with the population's std; 1
    (``none``)."""
    negative_weight: float = 1.0
    """0 trains on right answers alone."""
    floor: float = 1.0

    def __post_init__(self) -> None:
        if self.normalize not in NORMALIZE:
            raise ValueError(f"normalize={self.normalize!r}: take one of {', '.join(NORMALIZE)}")
        if not 0 <= self.negative_weight < math.inf:
            raise ValueError(
                f"negative_weight={self.negative_weight}: below 0 wrong answers would become more "
                "likely; take a finite number of 0 or more (1 is usual)"
            )
        if not 0 < self.floor <= 1:
            raise ValueError(
                f"floor={self.floor}: its logarithm is taken, and above 1 it would shrink the "
                "on-policy gradient; take more than 0 and at most 1 (1 is usual)"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        mask_T = inputs.mask_T
        advantages_T = masked(inputs.advantages_T, mask_T)
        weights_T = masked(inputs.weights_T, mask_T)
        log_ratio_T = log_ratios(inputs)
        bounded_T = log_ratio_T.clamp(max=MAX_LOG_RATIO)

        right_T, wrong_T = advantages_T > 0, advantages_T < 0
        rate_T = torch.where(right_T, 1 - advantages_T, -advantages_T)
        rate_T = rate_T.clamp(LOWEST_PASS_RATE, 1 - LOWEST_PASS_RATE)
        implied_T = (1 - rate_T * bounded_T.exp()) / (1 - rate_T)
        held_T = implied_T.detach().clamp(min=self.floor)
        # The second term is 0 and carries the gradient. Adding it to held_T before the logarithm
        # would lose held_T's digits where implied_T is a large negative number.
        log_held_T = held_T.log() + (implied_T - implied_T.detach()) / held_T
        negative_T = -self.negative_weight * log_held_T
        other_T = torch.where(wrong_T, negative_T, torch.zeros_like(negative_T))
        loss_T = self._problem_weight(rate_T) * torch.where(right_T, -bounded_T, other_T)

        metrics = ratio_metrics(inputs, log_ratio_T)
        floored_T = wrong_T & (implied_T < self.floor)
        metrics["actor/nft_floored"] = masked_mean(floored_T, mask_T)
        return LossOutput(loss=(loss_T * weights_T).sum(), metrics=metrics)

    def _problem_weight(self, rate_T: Tensor) -> Tensor:
        if self.normalize == "none":
            return torch.ones_like(rate_T)
        return 1 - rate_T if self.normalize == "dr_grpo" else ((1 - rate_T) / rate_T).sqrt()
