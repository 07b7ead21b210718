"""A ratio inside a trust region on probabilities, with a quadratic pull to the sampler."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlvr.learner.importance import ratio_metrics, ratios, sampled_log_ratios
from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean
from rlvr.learner.losses.dppo import log_probabilities, tv_keep


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimeRl:
    """What prime-rl trains with unless told otherwise: the mask of ``DppoTv`` (arXiv:2602.04879)
    and a pull, per token.

    With p the trained and q the sampling probability, d = log p - log q and A the advantage:
    -keep A exp(d) + tau d^2, keep = 0 where A > 0 and p - q > max_rise or A < 0 and
    q - p > max_fall, else 1. A token that is not kept is still pulled back. prime-rl sums over
    tokens (``token-sum``). The region is around the sampler itself, so no correction for it belongs
    beside this loss.
    """

    max_fall: float = 0.2
    """Of a probability."""
    max_rise: float = 0.2
    """Of a probability."""
    tau: float = 1e-3
    """How hard it pulls (advantage per nat); 0 for no pull."""

    def __post_init__(self) -> None:
        for name in ("max_fall", "max_rise"):
            value: float = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(
                    f"{name}={value}: it bounds a difference of two probabilities, so take more "
                    "than 0 and less than 1 (0.2 is usual)"
                )
        if not 0 <= self.tau < math.inf:
            raise ValueError(
                f"tau={self.tau}: below 0 it would push away from the sampler; take 0 or more "
                "(1e-3 is usual)"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        mask_T = inputs.mask_T
        advantages_T = masked(inputs.advantages_T, mask_T)
        weights_T = masked(inputs.weights_T, mask_T)
        keep_T = tv_keep(
            *log_probabilities(inputs),
            advantages_T,
            max_rise=self.max_rise,
            max_fall=self.max_fall,
        )
        log_ratio_T = sampled_log_ratios(inputs)
        gain_T = masked(advantages_T * ratios(log_ratio_T), keep_T)
        loss_T = self.tau * log_ratio_T.square() - gain_T
        metrics = ratio_metrics(inputs, log_ratio_T)
        metrics["actor/pg_dropfrac"] = masked_mean(~keep_T, mask_T)
        return LossOutput(loss=(loss_T * weights_T).sum(), metrics=metrics)
