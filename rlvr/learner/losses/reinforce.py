"""REINFORCE: log-prob times advantage, per token."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rlvr.learner.importance import (
    log_ratios,
    ratio_metrics,
    ratios,
    sampled_log_ratios,
    score_loss,
)
from rlvr.learner.loss import LossInputs, LossOutput, masked_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Reinforce:
    """-A logprob per token (Williams, 1992); also GPG's loss (arXiv:2504.02546).

    With ``weight_cap``, times the constant min(r, weight_cap), r = exp(logprob - sampled logprob):
    importance sampling, truncated (Ionides, 2008; V-trace's rho, arXiv:1802.01561). Without it the
    gradient is biased as soon as the samples are older than the weights. r is of the weights being
    trained to the sampler itself, so no other weight belongs beside it; the constant
    min(exp(proximal logprob - sampled logprob), C) is ``corrections=(TokenTis(cap=C),)`` on this
    loss without ``weight_cap``.
    """

    weight_cap: float | None = None
    """Largest importance weight; null takes every token at weight 1, whatever sampled it."""

    def __post_init__(self) -> None:
        if self.weight_cap is not None and not self.weight_cap >= 1:
            raise ValueError(
                f"weight_cap={self.weight_cap}: under 1 it would shrink the on-policy gradient, "
                "whose weight is 1; take 1 or more (2 is usual), or null for no weight"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        if self.weight_cap is None:
            log_ratio_T = log_ratios(inputs)
            return LossOutput(
                loss=score_loss(inputs, torch.ones_like(log_ratio_T)),
                metrics=ratio_metrics(inputs, log_ratio_T),
            )
        log_ratio_T = sampled_log_ratios(inputs)
        ratio_T = ratios(log_ratio_T)
        metrics = ratio_metrics(inputs, log_ratio_T)
        metrics["actor/pg_clipfrac"] = masked_mean(ratio_T > self.weight_cap, inputs.mask_T)
        return LossOutput(
            loss=score_loss(inputs, ratio_T.clamp(max=self.weight_cap)), metrics=metrics
        )
