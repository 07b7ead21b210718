"""A soft gate in place of a clip, per token."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from rlvr.learner.importance import log_ratios, ratio_metrics, ratios
from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Sapo:
    """SAPO (arXiv:2511.20347).

    Per token, with r = exp(logprob - old logprob), the proximal one where given and else the
    sampled one, A the advantage, s the sigmoid and tau of the sign of A:
    -A (4 / tau) s(tau (r - 1)). Its slope along r is -A 4 s (1 - s): PPO's at r = 1, fading on both
    sides the faster, the larger tau is. Goes with the aggregation ``seq-mean-token-mean``.
    """

    uses_ratio: ClassVar[bool] = True

    tau_positive: float = 1.0
    tau_negative: float = 1.05
    """Larger than ``tau_positive``, as pushing a token down raises many others a little."""

    def __post_init__(self) -> None:
        if not (0 < self.tau_positive < math.inf and 0 < self.tau_negative < math.inf):
            raise ValueError(
                f"tau_positive={self.tau_positive}, tau_negative={self.tau_negative}: the gate "
                "closes away from ratio 1 at this rate, so take finite numbers above 0 (1 and 1.05 "
                "are usual)"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        mask_T = inputs.mask_T
        advantages_T = masked(inputs.advantages_T, mask_T)
        weights_T = masked(inputs.weights_T, mask_T)
        log_ratio_T = log_ratios(inputs)
        positive_T = torch.full_like(log_ratio_T, self.tau_positive)
        tau_T = torch.where(advantages_T > 0, positive_T, self.tau_negative)
        gate_T = torch.sigmoid(tau_T * (ratios(log_ratio_T) - 1))
        loss_T = -advantages_T * gate_T * 4 / tau_T
        metrics = ratio_metrics(inputs, log_ratio_T)
        metrics["actor/gate_mean"] = masked_mean(4 * gate_T * (1 - gate_T), mask_T)
        return LossOutput(loss=(loss_T * weights_T).sum(), metrics=metrics)
