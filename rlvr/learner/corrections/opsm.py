"""Off-policy sequence masking: no pushing down of what the policy has already left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlvr.learner.loss import LossInputs, Mean, masked, masked_mean
from rlvr.learner.sequences import Sequences


def opsm(advantages: Tensor, drifts: Tensor, delta: float) -> Tensor:
    """Bool, False where a token or sequence has a negative advantage and its completion's mean of
    sampled minus current log-prob (nats) is above ``delta``."""
    return (advantages >= 0) | (drifts <= delta)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opsm:
    """0 on the tokens with a negative advantage of a completion whose mean of log(sampled / current
    probability) is above ``delta``, 1 elsewhere (DeepSeek-V3.2, arXiv:2512.02556, equation 9).

    The mean is against the weights being trained and not the proximal ones, so it sees both the
    step's own updates and the gap between sampler and trainer.
    """

    delta: float = 0.5
    """In nats per token."""

    whole_sequences: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.delta >= 0:
            raise ValueError(
                f"delta={self.delta}: on-policy the mean is 0, and below that every wrong answer "
                "would be dropped; take 0 or more (0.5 is usual)"
            )

    def __call__(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Mean]]:
        sequences = Sequences(inputs)
        mask_T = inputs.mask_T
        drift_B = sequences.means(inputs.sampled_logprobs_T - inputs.logprobs_T.detach())
        advantages_T = masked(inputs.advantages_T, mask_T)
        keep_T = opsm(advantages_T, sequences.spread(drift_B), self.delta)
        dropped_B = sequences.sums((~keep_T).to(drift_B.dtype)) > 0
        factor_T = masked(torch.ones_like(inputs.weights_T), mask_T & keep_T)
        return factor_T, {
            "rollout_corr/opsm_masked_fraction": masked_mean(~keep_T, mask_T),
            "rollout_corr/opsm_seq_masked_fraction": masked_mean(dropped_B, sequences.trains_B),
        }
