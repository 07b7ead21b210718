"""REINFORCE with a quadratic pull towards the weights that sampled, per token."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlvr.learner.importance import log_ratios, ratio_metrics
from rlvr.learner.loss import LossInputs, LossOutput, masked


@dataclass(frozen=True, slots=True, kw_only=True)
class Dro:
    """The policy's half of DRO (arXiv:2405.19107), token by token.

    With d = logprob - old logprob, the proximal one where given and else the sampled one, and A
    the advantage: -A logprob + beta / 2 d^2. The gradient vanishes at d = A / beta, so samples of
    any age may be trained on without a clip.
    """

    beta: float
    """How hard it pulls (advantage per nat). There is no vetted default: A / beta nats is how far
    a token is meant to move."""

    def __post_init__(self) -> None:
        if not 0 < self.beta < math.inf:
            raise ValueError(
                f"beta={self.beta}: at 0 or less nothing holds the policy near its samples; take "
                "a number above 0, or the loss Reinforce"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        mask_T = inputs.mask_T
        advantages_T = masked(inputs.advantages_T, mask_T)
        weights_T = masked(inputs.weights_T, mask_T)
        logprobs_T = masked(inputs.logprobs_T, mask_T)
        log_ratio_T = log_ratios(inputs)
        loss_T = -advantages_T * logprobs_T + self.beta / 2 * log_ratio_T.square()
        return LossOutput(
            loss=(loss_T * weights_T).sum(), metrics=ratio_metrics(inputs, log_ratio_T)
        )
