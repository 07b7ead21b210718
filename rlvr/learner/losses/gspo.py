"""The clipped surrogate on one ratio per sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from rlvr.learner.importance import log_ratios, ratio_metrics
from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean
from rlvr.learner.sequences import Sequences

MAX_LOG_RATIO = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gspo:
    """GSPO (arXiv:2507.18071), on whole sequences.

    Each token carries max(-A s, -A clip(s, 1 - clip_low, 1 + clip_high)), with A its advantage and
    s = exp(mean over the sequence's tokens of logprob - old logprob), the proximal one where given
    and else the sampled one, log s at most 10. The slope goes to the token's own logprob, as in the
    paper's GSPO-token: where a sequence's tokens share their advantage and weight it is the
    sequence's own, else each token keeps its credit.

    With the aggregation ``seq-mean-token-mean`` a sequence of L tokens has the slope -A s / (B L)
    on each, as the paper has it; with ``seq-mean-token-sum`` its loss counts L times, which is
    LUSPO.
    """

    uses_ratio: ClassVar[bool] = True
    whole_sequences: ClassVar[bool] = True

    clip_low: float = 3e-4
    """Distance from 1: a mean over many tokens stays much nearer to 1 than one token's ratio."""
    clip_high: float = 4e-4
    """Distance from 1."""

    def __post_init__(self) -> None:
        if not (0 <= self.clip_low < 1 and self.clip_high >= 0):
            raise ValueError(
                f"clip_low={self.clip_low}, clip_high={self.clip_high}: ratios are clipped to "
                "[1 - clip_low, 1 + clip_high], so take 0 <= clip_low < 1 and clip_high >= 0 "
                "(3e-4 and 4e-4 are the paper's)"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        sequences = Sequences(inputs)
        advantages_T = masked(inputs.advantages_T, inputs.mask_T)
        weights_T = masked(inputs.weights_T, inputs.mask_T)
        log_ratio_T = log_ratios(inputs)
        mean_T = sequences.spread(sequences.means(log_ratio_T.detach()))
        # The difference is 0 and carries the gradient.
        mean_T = mean_T + (log_ratio_T - log_ratio_T.detach())
        ratio_T = mean_T.clamp(max=MAX_LOG_RATIO).exp()

        free_T = -advantages_T * ratio_T
        held_T = -advantages_T * ratio_T.clamp(1 - self.clip_low, 1 + self.clip_high)
        metrics = ratio_metrics(inputs, log_ratio_T)
        metrics["actor/pg_clipfrac"] = masked_mean(held_T > free_T, inputs.mask_T)
        loss_T = torch.maximum(free_T, held_T)
        return LossOutput(loss=(loss_T * weights_T).sum(), metrics=metrics)
