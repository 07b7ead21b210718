"""REINFORCE with a quadratic pull on the log-prob of a whole sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlvr.learner.importance import log_ratios, ratio_metrics, score_loss
from rlvr.learner.loss import LossInputs, LossOutput, masked
from rlvr.learner.sequences import Sequences


@dataclass(frozen=True, slots=True, kw_only=True)
class Kimi:
    """The mirror descent of Kimi k1.5 (arXiv:2501.12599), on whole sequences.

    With A = r - mean r (``DrGrpo``) and d = log p(sequence) - log old p(sequence), a sequence's
    loss is -A log p + tau / 2 d^2, its slope -(A - tau d) on each token: 1 / (2 tau) of the slope
    of the paper's (A - tau d)^2. It is summed over tokens, so it goes with the aggregation
    ``seq-mean-token-sum``. The square takes the mean of its tokens' weights.

    The old policy is the proximal one, that the step starts from, where given, and else the
    sampler; the paper keeps one for many steps and resets the optimizer when it changes (see
    ``BcpgNsa`` for a pull to the reference policy).
    """

    whole_sequences: ClassVar[bool] = True

    tau: float
    """How hard it pulls (reward per nat). The paper does not give it: A / tau nats is how far a
    sequence is meant to move."""

    def __post_init__(self) -> None:
        check_tau(self.tau)

    def __call__(self, inputs: LossInputs) -> LossOutput:
        log_ratio_T = log_ratios(inputs)
        return LossOutput(
            loss=pulled_score_loss(inputs, log_ratio_T, self.tau),
            metrics=ratio_metrics(inputs, log_ratio_T),
        )


def pulled_score_loss(inputs: LossInputs, distance_T: Tensor, tau: float) -> Tensor:
    """Share (scalar) of -A logprob of every token and tau / 2 of the square of every sequence's
    summed ``distance_T`` (nats), which counts the mean of its tokens' weights."""
    sequences = Sequences(inputs)
    pull_B = tau / 2 * sequences.sums(distance_T).square()
    score = score_loss(inputs, torch.ones_like(distance_T))
    return score + (pull_B * sequences.means(masked(inputs.weights_T, inputs.mask_T))).sum()


def check_tau(tau: float) -> None:
    """Raises:
    ValueError: no finite number above 0.
    """
    if not 0 < tau < float("inf"):
        raise ValueError(
            f"tau={tau}: at 0 or less nothing holds a sequence near where it came from; take a "
            "number above 0, or the loss Reinforce"
        )
