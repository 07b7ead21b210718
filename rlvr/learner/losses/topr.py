"""Full weight for what went well, tapered weight for what went badly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from rlvr.learner.importance import ratio_metrics, ratios, sampled_log_ratios, score_loss
from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean
from rlvr.learner.sequences import Sequences

RATIOS = ("sequence", "geometric")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topr:
    """TOPR (arXiv:2503.14286), on whole sequences of any age.

    With A the advantage (the paper takes the reward less a constant) and r = exp(sum over the
    sequence's tokens of logprob - sampled logprob), each token carries -w A logprob, w constant:
    r within [positive_low, positive_high] where A >= 0, which by default is 1, and within
    [negative_low, negative_high] where A < 0. The ratio is to the sampler, so no correction for it
    belongs beside this loss. Goes with the aggregation ``seq-mean-token-mean``.
    """

    whole_sequences: ClassVar[bool] = True

    positive_low: float = 1.0
    positive_high: float = 1.0
    negative_low: float = 0.0
    negative_high: float = 1.0
    ratio: str = "sequence"
    """``geometric`` takes the mean over tokens in place of the sum: no estimate of the sequence's
    weight, but one that does not vanish with its length."""

    def __post_init__(self) -> None:
        for sign in ("positive", "negative"):
            low: float = getattr(self, f"{sign}_low")
            high: float = getattr(self, f"{sign}_high")
            if not (0 <= low <= high and low < math.inf):
                raise ValueError(
                    f"{sign}_low={low}, {sign}_high={high}: a sequence's ratio is clipped to "
                    f"between them, so take 0 <= {sign}_low <= {sign}_high (1, 1 of positive and "
                    "0, 1 of negative advantages are the paper's)"
                )
        if self.ratio not in RATIOS:
            raise ValueError(f"ratio={self.ratio!r}: take one of {', '.join(RATIOS)}")

    def __call__(self, inputs: LossInputs) -> LossOutput:
        sequences = Sequences(inputs)
        log_ratio_T = sampled_log_ratios(inputs)
        reduce = sequences.sums if self.ratio == "sequence" else sequences.means
        ratio_T = sequences.spread(ratios(reduce(log_ratio_T.detach())))
        negative_T = masked(inputs.advantages_T, inputs.mask_T) < 0
        weight_T = torch.where(
            negative_T,
            ratio_T.clamp(self.negative_low, self.negative_high),
            ratio_T.clamp(self.positive_low, self.positive_high),
        )
        metrics = ratio_metrics(inputs, log_ratio_T)
        metrics["actor/negative_weight"] = masked_mean(weight_T, inputs.mask_T & negative_T)
        return LossOutput(loss=score_loss(inputs, weight_T), metrics=metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTopr:
    """The taper of TOPR (arXiv:2503.14286), on each token's own ratio.

    Per token, with r = exp(logprob - sampled logprob), A the advantage and w constant:
    -w A logprob, w = 1 where A >= 0 and min(r, negative_cap) where A < 0. The paper takes the ratio
    of the whole completion (``Topr``), which is another estimator: there a long negative sample
    fades as one, here only those of its tokens that have become unlikely.
    """

    negative_cap: float = 1.0

    def __post_init__(self) -> None:
        if not self.negative_cap >= 1:
            raise ValueError(
                f"negative_cap={self.negative_cap}: under 1 it would shrink the on-policy "
                "gradient, whose weight is 1; take 1 or more (1 is the paper's)"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        log_ratio_T = sampled_log_ratios(inputs)
        ratio_T = ratios(log_ratio_T)
        negative_T = masked(inputs.advantages_T, inputs.mask_T) < 0
        tapered_T = ratio_T.clamp(max=self.negative_cap)
        weight_T = torch.where(negative_T, tapered_T, torch.ones_like(ratio_T))
        metrics = ratio_metrics(inputs, log_ratio_T)
        metrics["actor/pg_clipfrac"] = masked_mean(
            negative_T & (ratio_T > self.negative_cap), inputs.mask_T
        )
        return LossOutput(loss=score_loss(inputs, weight_T), metrics=metrics)
