"""Importance weights, truncated: every token stays, and none counts too much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rlvr.learner.corrections.window import check_window, weight_metrics
from rlvr.learner.importance import behaviour_log_ratios, ratios
from rlvr.learner.loss import LossInputs, Mean, masked
from rlvr.learner.sequences import Sequences


def tis(log_ratios: Tensor, cap: float, low: float = 0.0) -> Tensor:
    """exp(log ratio) held to [low, cap], constant; of tokens or of whole sequences alike.

    A log-ratio is trained minus sampled log-prob (nats), bounded by +-20 before.
    """
    return ratios(log_ratios.detach()).clamp(low, cap)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTis:
    """Truncated importance sampling per token: min(w, cap), w = trained / sampled probability
    (Ionides, 2008; for the gap between sampler and trainer, verl's and OpenRLHF's ``tis``).

    Of little variance, and biased for two reasons: the cap, and that only the token itself is
    corrected for and not the way to it.
    """

    cap: float = 2.0
    low: float | None = None
    """Smallest weight; null sets none."""

    # Against the samples themselves a loss's own ratio would be this weight a second time.
    needs: ClassVar[frozenset[str]] = frozenset({"proximal"})

    def __post_init__(self) -> None:
        check_window(0.0 if self.low is None else self.low, self.cap, upper="cap")

    def __call__(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Mean]]:
        log_ratio_T = behaviour_log_ratios(inputs)
        raw_T, mask_T = ratios(log_ratio_T), inputs.mask_T
        weight_T = masked(tis(log_ratio_T, self.cap, self.low or 0.0), mask_T)
        beyond = (raw_T > self.cap, raw_T < _low(self.low, self.cap))
        return weight_T, weight_metrics(weight_T, mask_T, beyond, mask_T)


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceTis:
    """Truncated importance sampling of whole completions: min(prod w, cap) on each of their tokens.

    Unbiased but for the cap. The product grows exponentially with the length (1.1 per token is
    14,000 after 100), so long completions end at the cap or near 0; prefer ``TokenTis`` for these.
    """

    cap: float = 2.0

    needs: ClassVar[frozenset[str]] = frozenset({"proximal"})
    whole_sequences: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_window(0.0, self.cap, upper="cap")

    def __call__(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Mean]]:
        sequences = Sequences(inputs)
        log_ratio_B = sequences.sums(behaviour_log_ratios(inputs))
        raw_B = ratios(log_ratio_B)
        weight_T = masked(sequences.spread(tis(log_ratio_B, self.cap)), inputs.mask_T)
        beyond = (raw_B > self.cap, raw_B < _low(None, self.cap))
        return weight_T, weight_metrics(weight_T, inputs.mask_T, beyond, sequences.trains_B)


def _low(low: float | None, cap: float) -> float:
    """Below this a weight is reported as low: the bound, or as far under 1 as the cap is above."""
    return 1 / cap if low is None else low
