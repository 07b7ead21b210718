"""REINFORCE under a smooth weight on the ratio of a whole sequence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlvr.learner.importance import ratio_metrics, ratios, sampled_log_ratios, score_loss
from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean
from rlvr.learner.sequences import Sequences

MAX_LOG_RATIO = 20.0
MIN_LOG_WEIGHT = math.log(1e-8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vespo:
    """VESPO (arXiv:2602.10693), on whole sequences.

    With w = exp(sum over the sequence's tokens of logprob - sampled logprob), A the advantage and
    k and decay of its sign, each token carries -phi A logprob, the first factor constant:
    phi = w^k exp(decay (1 - w)), which is 1 on-policy, largest at w = k / decay and fades on both
    sides. The ratio is to the sampler, so no correction for it belongs beside this loss. Goes with
    the aggregation ``token-mean``.
    """

    whole_sequences: ClassVar[bool] = True

    k_positive: float = 2.0
    decay_positive: float = 3.0
    """Of advantages of 0 or more."""
    k_negative: float = 3.0
    decay_negative: float = 2.0

    def __post_init__(self) -> None:
        for name in ("k_positive", "decay_positive", "k_negative", "decay_negative"):
            value: float = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(
                    f"{name}={value}: the weight of a sequence far from its sampler would not "
                    "fade; take a number above 0 (2 and 3 are the paper's)"
                )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        sequences = Sequences(inputs)
        log_ratio_T = sampled_log_ratios(inputs)
        bounded_T = log_ratio_T.detach().clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        log_weight_B = sequences.sums(bounded_T)
        up_T = sequences.spread(gamma_weight(log_weight_B, self.k_positive, self.decay_positive))
        down_T = sequences.spread(gamma_weight(log_weight_B, self.k_negative, self.decay_negative))
        advantages_T = masked(inputs.advantages_T, inputs.mask_T)
        weight_T = torch.where(advantages_T >= 0, up_T, down_T)

        metrics = ratio_metrics(inputs, log_ratio_T)
        metrics["actor/sequence_weight"] = masked_mean(weight_T, inputs.mask_T)
        return LossOutput(loss=score_loss(inputs, weight_T), metrics=metrics)


def gamma_weight(log_weights: Tensor, k: float, decay: float) -> Tensor:
    """w^k exp(decay (1 - w)) of any shape, from log w (nats; held within [log 1e-8, 20])."""
    bounded = log_weights.clamp(min=MIN_LOG_WEIGHT, max=MAX_LOG_RATIO)
    return (decay + k * bounded - decay * ratios(bounded)).exp()
