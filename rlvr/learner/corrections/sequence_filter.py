"""Whole completions left out by how far, per token, the trained policy is from the sampler.

Means over a completion's tokens do not grow with its length, as products do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlvr.learner.corrections.window import (
    check_window,
    inside,
    rejection_metrics,
    weight_metrics,
)
from rlvr.learner.importance import MAX_LOG_RATIO, behaviour_log_ratios, ratios
from rlvr.learner.loss import LossInputs, Mean, masked
from rlvr.learner.sequences import Sequences

GEOMETRIC = "rollout_rs_seq_mean_k1"
K3 = "rollout_rs_seq_mean_k3"


def k3(log_ratios: Tensor) -> Tensor:
    """w - 1 - log w, w = exp(log ratio), never negative: its mean over tokens of the sampler
    estimates KL(sampler, trained) (nats)."""
    log_ratios = log_ratios.detach().clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return torch.expm1(log_ratios) - log_ratios


@dataclass(frozen=True, slots=True, kw_only=True)
class GeometricMask:
    """1 on each token of a completion whose geometric mean of w lies within [low, high], 0 on the
    others; w = trained / sampled probability (Geo-RS, verl's ``seq_mean_k1`` with its bounds taken
    on w itself)."""

    low: float = 0.999
    high: float = 1.001

    whole_sequences: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_window(self.low, self.high)

    def __call__(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Mean]]:
        sequences = Sequences(inputs)
        keep_B = _keep_by_geometric_mean(sequences, inputs, self.low, self.high)
        return _factor(sequences, inputs, keep_B), rejection_metrics(GEOMETRIC, sequences, keep_B)


@dataclass(frozen=True, slots=True, kw_only=True)
class K3Mask:
    """1 on each token of a completion whose mean of w - 1 - log w is at most ``max_k3``, 0 on the
    others (K3-RS, verl's ``seq_mean_k3``). Unlike a geometric mean, it does not let ratios above
    and under 1 make up for each other."""

    max_k3: float = 0.01
    """In nats per token; 0.001 to 0.01 are usual."""

    whole_sequences: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.max_k3 > 0:
            raise ValueError(
                f"max_k3={self.max_k3}: at 0 or less every completion that is the least off-policy "
                "would be dropped; take more than 0 (0.01 is usual)"
            )

    def __call__(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Mean]]:
        sequences = Sequences(inputs)
        keep_B = sequences.means(k3(behaviour_log_ratios(inputs))) <= self.max_k3
        return _factor(sequences, inputs, keep_B), rejection_metrics(K3, sequences, keep_B)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeqMaskTis:
    """w on each token of a completion whose geometric mean of w lies within [low, high], 0 on the
    others (OpenRLHF's ``seq-mask-tis``): the mean filters, the token's own weight corrects."""

    low: float = 0.5
    high: float = 5.0
    cap: float | None = None
    """Largest weight of a token; null sets none."""

    # Against the samples themselves a loss's own ratio would be this weight a second time.
    needs: ClassVar[frozenset[str]] = frozenset({"proximal"})
    whole_sequences: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_window(self.low, self.high)
        if self.cap is not None:
            check_window(0.0, self.cap, upper="cap")

    def __call__(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Mean]]:
        sequences = Sequences(inputs)
        mask_T = inputs.mask_T
        keep_B = _keep_by_geometric_mean(sequences, inputs, self.low, self.high)
        raw_T = ratios(behaviour_log_ratios(inputs).detach())
        held_T = raw_T if self.cap is None else raw_T.clamp(max=self.cap)
        weight_T = _factor(sequences, inputs, keep_B) * held_T
        beyond = (raw_T > self.high, raw_T < self.low)
        return weight_T, {
            **weight_metrics(weight_T, mask_T, beyond, mask_T),
            **rejection_metrics(GEOMETRIC, sequences, keep_B),
        }


def _keep_by_geometric_mean(
    sequences: Sequences, inputs: LossInputs, low: float, high: float
) -> Tensor:
    log_mean_B = sequences.means(behaviour_log_ratios(inputs))
    return inside(ratios(log_mean_B), low, high)


def _factor(sequences: Sequences, inputs: LossInputs, keep_B: Tensor) -> Tensor:
    return masked(sequences.spread(keep_B.to(inputs.weights_T.dtype)), inputs.mask_T)
