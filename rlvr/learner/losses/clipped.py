"""The clipped surrogate of PPO, per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from rlvr.learner.importance import log_ratios, ratio_metrics, ratios
from rlvr.learner.loss import LossInputs, LossOutput, Mean, masked, masked_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipped:
    """Equal bounds make PPO's and GRPO's loss (arXiv:1707.06347, arXiv:2402.03300); a larger
    ``clip_high`` is DAPO's clip-higher (arXiv:2503.14476).

    Per token, with r = exp(logprob - old logprob), the proximal one where given and else the
    sampled one, and A the advantage: max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)).
    """

    uses_ratio: ClassVar[bool] = True

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    """Bounds the loss of a token with a negative advantage by -A times this (above 1), however far
    its ratio rose (arXiv:1912.09729); null leaves it unbounded."""

    def __post_init__(self) -> None:
        if not (0 <= self.clip_low < 1 and self.clip_high >= 0):
            raise ValueError(
                f"clip_low={self.clip_low}, clip_high={self.clip_high}: ratios are clipped to "
                "[1 - clip_low, 1 + clip_high], so take 0 <= clip_low < 1 and clip_high >= 0"
            )
        if self.dual_clip is not None and not self.dual_clip > 1:
            raise ValueError(
                f"dual_clip={self.dual_clip}: at 1 or less it would cut the on-policy loss itself; "
                "take more than 1 (verl uses 3) or null"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        mask_T = inputs.mask_T
        advantages_T = masked(inputs.advantages_T, mask_T)
        weights_T = masked(inputs.weights_T, mask_T)
        log_ratio_T = log_ratios(inputs)
        ratio_T = ratios(log_ratio_T)

        free_T = -advantages_T * ratio_T
        held_T = -advantages_T * ratio_T.clamp(1 - self.clip_low, 1 + self.clip_high)
        loss_T = torch.maximum(free_T, held_T)
        metrics: dict[str, Mean] = {
            "actor/pg_clipfrac": masked_mean(held_T > free_T, mask_T),
            **ratio_metrics(inputs, log_ratio_T),
        }
        if self.dual_clip is not None:
            ceiling_T = -advantages_T * self.dual_clip
            above_T = (advantages_T < 0) & (loss_T > ceiling_T)
            loss_T = torch.where(above_T, ceiling_T, loss_T)
            metrics["actor/pg_clipfrac_lower"] = masked_mean(above_T, mask_T)
        return LossOutput(loss=(loss_T * weights_T).sum(), metrics=metrics)
