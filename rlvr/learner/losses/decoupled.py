"""The clipped surrogate with three policies: one sampled, one starts the step, one is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlvr.learner.importance import behaviour_log_ratios, ratios
from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean
from rlvr.learner.losses.clipped import Clipped

PROXIMAL = ("recomputed", "log-linear")
BEYOND_CAP = ("clamp", "mask")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoupled:
    """Decoupled PPO (arXiv:2110.00641) as AReaL uses it (arXiv:2505.24298), per token.

    With r = exp(logprob - proximal logprob), A the advantage and w = exp(proximal logprob -
    sampled logprob), constant: w max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)). So the clip
    bounds the step, however old the samples are, and w corrects for their age.

    Raises:
        ValueError: the inputs lack what the choice of ``proximal`` takes.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    """As of ``Clipped``."""
    weight_cap: float | None = None
    """Largest w; null leaves it unbounded (but finite)."""
    beyond_cap: str = "clamp"
    """``clamp`` holds w at the cap, ``mask`` gives the token weight 0; both leave the denominator
    as it is."""
    proximal: str = "recomputed"
    """``recomputed`` is a forward pass before the step's first update; ``log-linear`` interpolates
    between the sampled and the trained log-prob by the age of the sample, which costs nothing."""

    def __post_init__(self) -> None:
        self._clipped()
        if self.weight_cap is not None and not self.weight_cap >= 1:
            raise ValueError(
                f"weight_cap={self.weight_cap}: under 1 it would shrink the on-policy gradient, "
                "whose weight is 1; take 1 or more (5 is usual), or null for no bound"
            )
        if self.beyond_cap not in BEYOND_CAP:
            raise ValueError(f"beyond_cap={self.beyond_cap!r}: take one of {', '.join(BEYOND_CAP)}")
        if self.proximal not in PROXIMAL:
            raise ValueError(f"proximal={self.proximal!r}: take one of {', '.join(PROXIMAL)}")

    @property
    def needs(self) -> frozenset[str]:
        """The proximal log-probs, if they are not interpolated."""
        return frozenset({"proximal"} if self.proximal == "recomputed" else ())

    def __call__(self, inputs: LossInputs) -> LossOutput:
        mask_T = inputs.mask_T
        inputs = replace(inputs, proximal_logprobs_T=self._proximal(inputs))
        weight_T = ratios(behaviour_log_ratios(inputs))
        capped_T = torch.zeros_like(mask_T)
        if self.weight_cap is not None:
            capped_T = weight_T > self.weight_cap
            most_T = weight_T.clamp(max=self.weight_cap)
            held_T = most_T if self.beyond_cap == "clamp" else torch.zeros_like(weight_T)
            weight_T = torch.where(capped_T, held_T, weight_T)
        weights_T = masked(inputs.weights_T, mask_T) * weight_T
        output = self._clipped()(replace(inputs, weights_T=weights_T))
        metrics = {
            **output.metrics,
            "actor/behaviour_weight": masked_mean(weight_T, mask_T),
            "actor/behaviour_capped": masked_mean(capped_T, mask_T),
        }
        return LossOutput(loss=output.loss, metrics=metrics)

    def _clipped(self) -> Clipped:
        return Clipped(clip_low=self.clip_low, clip_high=self.clip_high, dual_clip=self.dual_clip)

    def _proximal(self, inputs: LossInputs) -> Tensor:
        if self.proximal == "recomputed":
            if inputs.proximal_logprobs_T is None:
                raise ValueError(
                    "proximal_logprobs_T=None: give each token's log-prob under the weights that "
                    "the step starts from, or take proximal='log-linear'"
                )
            return inputs.proximal_logprobs_T
        if inputs.lag_T is None:
            raise ValueError(
                "lag_T=None: give how many updates older than the step's start each token is, or "
                "take proximal='recomputed'"
            )
        return log_linear_proximal(inputs.logprobs_T, inputs.sampled_logprobs_T, inputs.lag_T)


def log_linear_proximal(
    logprobs_T: Tensor, sampled_logprobs_T: Tensor, lag_T: Tensor, *, ahead: float | Tensor = 1.0
) -> Tensor:
    """Proximal log-prob ``[T]`` (nats, constant) on the line from the sampled to the trained one.

    sampled + alpha (trained - sampled), alpha = lag / (lag + ahead), as in AReaL. With versions:
    lag = proximal - behaviour version, ahead = trained - proximal version, so that alpha =
    (v_proximal - v_behaviour) / (v_trained - v_behaviour), within [0, 1]; 0 where nothing was
    updated since the token was sampled.
    """
    lag_T = lag_T.to(sampled_logprobs_T.dtype)
    age_T = lag_T + ahead
    some_T = age_T > 0
    alpha_T = torch.where(some_T, lag_T / torch.where(some_T, age_T, 1.0), 0.0).clamp(0, 1)
    return sampled_logprobs_T + alpha_T * (logprobs_T.detach() - sampled_logprobs_T)
