"""REINFORCE under the geometric mean of a sequence's clipped ratios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from rlvr.learner.importance import log_ratios, ratio_metrics, ratios
from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean
from rlvr.learner.sequences import Sequences


@dataclass(frozen=True, slots=True, kw_only=True)
class Gmpo:
    """GMPO (arXiv:2507.20673), on whole sequences.

    With d = logprob - old logprob, the proximal one where given and else the sampled one, A the
    advantage and h the log-ratio that is worse for A, min(d, clip_high) where A > 0 and
    max(d, -clip_low) where A < 0, each token carries -A g with g = exp(mean over the sequence's
    tokens of h). The slope goes to the token's own logprob, none to a token that is clipped. Goes
    with the aggregation ``seq-mean-token-mean``.
    """

    uses_ratio: ClassVar[bool] = True
    whole_sequences: ClassVar[bool] = True

    clip_low: float = 0.4
    """Of the log-ratio (nats)."""
    clip_high: float = 0.4
    """Of the log-ratio (nats)."""

    def __post_init__(self) -> None:
        if not (self.clip_low >= 0 and self.clip_high >= 0):
            raise ValueError(
                f"clip_low={self.clip_low}, clip_high={self.clip_high}: log-ratios are clipped to "
                "[-clip_low, clip_high], so take both 0 or more (0.4 is the paper's)"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        sequences = Sequences(inputs)
        advantages_T = masked(inputs.advantages_T, inputs.mask_T)
        weights_T = masked(inputs.weights_T, inputs.mask_T)
        log_ratio_T = log_ratios(inputs)
        near_T = log_ratio_T.clamp(-self.clip_low, self.clip_high)
        sign_T = advantages_T.sign()
        worse_T = sign_T * torch.minimum(sign_T * log_ratio_T, sign_T * near_T)
        mean_T = sequences.spread(sequences.means(worse_T.detach()))
        # The difference is 0 and carries the gradient.
        ratio_T = ratios(mean_T + (worse_T - worse_T.detach()))

        metrics = ratio_metrics(inputs, log_ratio_T)
        clipped_T = (sign_T != 0) & (worse_T != log_ratio_T)
        metrics["actor/pg_clipfrac"] = masked_mean(clipped_T, inputs.mask_T)
        return LossOutput(loss=(-advantages_T * ratio_T * weights_T).sum(), metrics=metrics)
