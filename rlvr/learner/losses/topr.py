"""Full weight for what went well, tapered weight for what went badly, per token."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rlvr.learner.importance import log_ratios, ratio_metrics, ratios, score_loss
from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTopr:
    """The taper of TOPR (arXiv:2503.14286), on each token's own ratio.

    Per token, with r = exp(logprob - sampled logprob), A the advantage and w constant:
    -w A logprob, w = 1 where A >= 0 and min(r, negative_cap) where A < 0. The paper takes the ratio
    of the whole completion, which is another estimator: there a long negative sample fades as one,
    here only those of its tokens that have become unlikely.
    """

    negative_cap: float = 1.0

    def __post_init__(self) -> None:
        if not self.negative_cap >= 1:
            raise ValueError(
                f"negative_cap={self.negative_cap}: under 1 it would shrink the on-policy "
                "gradient, whose weight is 1; take 1 or more (1 is the paper's)"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        log_ratio_T = log_ratios(inputs)
        ratio_T = ratios(log_ratio_T)
        negative_T = masked(inputs.advantages_T, inputs.mask_T) < 0
        tapered_T = ratio_T.clamp(max=self.negative_cap)
        weight_T = torch.where(negative_T, tapered_T, torch.ones_like(ratio_T))
        metrics = ratio_metrics(inputs, log_ratio_T)
        metrics["actor/pg_clipfrac"] = masked_mean(
            negative_T & (ratio_T > self.negative_cap), inputs.mask_T
        )
        return LossOutput(loss=score_loss(inputs, weight_T), metrics=metrics)
