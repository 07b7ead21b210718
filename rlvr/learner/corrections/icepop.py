"""Importance weights inside a window, and nothing outside of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rlvr.learner.corrections.window import (
    check_window,
    inside,
    rejection_metrics,
    weight_metrics,
)
from rlvr.learner.importance import behaviour_log_ratios, ratios
from rlvr.learner.loss import LossInputs, Mean, masked, masked_mean
from rlvr.learner.sequences import Sequences


def icepop(log_ratios: Tensor, low: float, high: float) -> Tensor:
    """exp(log ratio) where that is within [low, high] and 0 elsewhere, constant; of tokens or of
    whole sequences alike."""
    ratio = ratios(log_ratios.detach())
    return masked(ratio, inside(ratio, low, high))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMask:
    """w of each token where low <= w <= high, 0 elsewhere; w = trained / sampled probability
    (IcePop, Ring-1T's report, arXiv:2510.18855).

    What truncation would keep at the cap, a token on which sampler and trainer disagree, is left
    out here. The tokens left out stay in the aggregation's denominator.
    """

    low: float = 0.5
    high: float = 5.0

    # Against the samples themselves a loss's own ratio would be this weight a second time.
    needs: ClassVar[frozenset[str]] = frozenset({"proximal"})

    def __post_init__(self) -> None:
        check_window(self.low, self.high)

    def __call__(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Mean]]:
        log_ratio_T = behaviour_log_ratios(inputs)
        raw_T, mask_T = ratios(log_ratio_T), inputs.mask_T
        weight_T = masked(icepop(log_ratio_T, self.low, self.high), mask_T)
        outside_T = ~inside(raw_T, self.low, self.high)
        beyond = (raw_T > self.high, raw_T < self.low)
        metrics = weight_metrics(weight_T, mask_T, beyond, mask_T)
        metrics["rollout_corr/rollout_is_oob_ratio"] = masked_mean(outside_T, mask_T)
        return weight_T, metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceMask:
    """prod w on each token of a completion where low <= prod w <= high, 0 elsewhere (Seq-MIS,
    "masked importance sampling"; TRL's default, ``sequence_mask`` with ``high`` 3).

    The product leaves the window with length alone, so long completions are dropped
    systematically; prefer ``SeqMaskTis`` for these.
    """

    low: float = 0.0
    high: float = 3.0

    needs: ClassVar[frozenset[str]] = frozenset({"proximal"})
    whole_sequences: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_window(self.low, self.high)

    def __call__(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Mean]]:
        sequences = Sequences(inputs)
        log_ratio_B = sequences.sums(behaviour_log_ratios(inputs))
        raw_B = ratios(log_ratio_B)
        weight_B = icepop(log_ratio_B, self.low, self.high)
        weight_T = masked(sequences.spread(weight_B), inputs.mask_T)
        beyond = (raw_B > self.high, raw_B < self.low)
        keep_B = inside(raw_B, self.low, self.high)
        return weight_T, {
            **weight_metrics(weight_T, inputs.mask_T, beyond, sequences.trains_B),
            **rejection_metrics("rollout_rs_seq_sum_k1", sequences, keep_B),
        }
