"""Likelihood of right answers, as far as it helps that one of N samples is right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from rlvr.learner.importance import log_ratios, ratio_metrics
from rlvr.learner.loss import LossInputs, LossOutput, Mean, masked
from rlvr.learner.sequences import Sequences


@dataclass(frozen=True, slots=True, kw_only=True)
class Dco:
    """DCO (arXiv:2502.07154), on whole sequences whose advantage is positive.

    With p the probability of the whole sequence, its loss is -log(1 - (1 - p)^samples): the
    log-likelihood times samples (1 - p)^(samples - 1) p / (1 - (1 - p)^samples) in the gradient,
    which is 1 for improbable answers and fades where ``samples`` draws would find it anyway. A
    sequence's weight is the mean of its tokens', so it goes with ``seq-mean-token-sum``.
    """

    whole_sequences: ClassVar[bool] = True

    samples: int
    """How many answers are drawn at test time; 1 is plain likelihood."""

    def __post_init__(self) -> None:
        if not 1 <= self.samples < math.inf:
            raise ValueError(f"samples={self.samples}: it counts answers, so take 1 or more")

    def __call__(self, inputs: LossInputs) -> LossOutput:
        sequences = Sequences(inputs)
        right_T = masked(inputs.advantages_T, inputs.mask_T) > 0
        right_B = sequences.means(right_T.to(inputs.logprobs_T.dtype)) > 0
        weights_B = sequences.means(masked(inputs.weights_T, inputs.mask_T))
        log_p_B = masked(sequences.sums(inputs.logprobs_T), right_B)

        # Each branch gets numbers that it can stand, as its gradient is taken even if unused.
        rare_B = log_p_B < math.log(1e-9 / self.samples)
        common_B = torch.where(rare_B, math.log(0.5), log_p_B.clamp(max=-1e-6))
        missed_B = self.samples * torch.log1p(-common_B.exp())
        loss_B = -torch.log(-torch.expm1(missed_B))
        # One sample's is the likelihood itself, down to a certain answer, where the bound above
        # would take its gradient.
        plain_B = rare_B | (self.samples == 1)
        loss_B = torch.where(plain_B, -log_p_B - math.log(self.samples), loss_B)

        loss_B = masked(loss_B, right_B)
        metrics = ratio_metrics(inputs, log_ratios(inputs))
        metrics["actor/positive_share"] = Mean(right_B.sum(), sequences.trains_B.sum())
        return LossOutput(loss=(loss_B * weights_B).sum(), metrics=metrics)
