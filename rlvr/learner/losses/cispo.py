"""REINFORCE under a clipped importance weight, per token: no token ever loses its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlvr.learner.importance import log_ratios, ratio_metrics, ratios, score_loss
from rlvr.learner.loss import LossInputs, LossOutput, masked_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Cispo:
    """Bounded from above alone, as ScaleRL (arXiv:2510.13786) uses CISPO (arXiv:2506.13585).

    Per token, with r = exp(logprob - old logprob), the proximal one where given and else the
    sampled one, A the advantage and the first factor constant: -min(r, ratio_cap) A logprob. Goes
    with the aggregation ``token-mean``.
    """

    uses_ratio: ClassVar[bool] = True

    ratio_cap: float = 5.0
    """The largest weight itself, not its distance from 1."""

    def __post_init__(self) -> None:
        if not self.ratio_cap >= 1:
            raise ValueError(
                f"ratio_cap={self.ratio_cap}: it bounds the ratio itself, which is 1 on-policy, so "
                "take 1 or more (5 is usual)"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        return _clipped_weight(inputs, None, self.ratio_cap)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoSidedCispo:
    """Bounded on both sides of 1, as CISPO is written in MiniMax-M1 (arXiv:2506.13585).

    Per token, with r and A as in ``Cispo`` and the first factor constant:
    -clip(r, 1 - clip_low, 1 + clip_high) A logprob.
    """

    uses_ratio: ClassVar[bool] = True

    clip_low: float = 0.2
    """Distance from 1; at 1 nothing is clipped from below."""
    clip_high: float = 0.28
    """Distance from 1."""

    def __post_init__(self) -> None:
        if not (0 <= self.clip_low <= 1 and self.clip_high >= 0):
            raise ValueError(
                f"clip_low={self.clip_low}, clip_high={self.clip_high}: weights are clipped to "
                "[1 - clip_low, 1 + clip_high], so take 0 <= clip_low <= 1 and clip_high >= 0"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        return _clipped_weight(inputs, 1 - self.clip_low, 1 + self.clip_high)


def _clipped_weight(inputs: LossInputs, low: float | None, high: float) -> LossOutput:
    log_ratio_T = log_ratios(inputs)
    ratio_T = ratios(log_ratio_T)
    held_T = ratio_T.clamp(low, high)
    metrics = ratio_metrics(inputs, log_ratio_T)
    metrics["actor/pg_clipfrac"] = masked_mean(held_T != ratio_T, inputs.mask_T)
    return LossOutput(loss=score_loss(inputs, held_T), metrics=metrics)
