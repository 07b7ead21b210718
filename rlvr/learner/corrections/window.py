"""The window [low, high] that importance ratios are held to, and what is reported of it."""

from __future__ import annotations

from torch import Tensor

from rlvr.learner.loss import Mean, masked_mean
from rlvr.learner.sequences import Sequences


def check_window(low: float, high: float, *, upper: str = "high") -> None:
    """Refuse bounds that leave out the ratio 1; ``upper`` is the name of the second."""
    if not 0 <= low <= 1 <= high:
        raise ValueError(
            f"low={low}, {upper}={high}: trained / sampled probability is 1 where nothing is "
            f"off-policy, and that has to lie inside; take 0 <= low <= 1 <= {upper}"
        )


def inside(ratios: Tensor, low: float, high: float) -> Tensor:
    """Bool: which are within the window, bounds included."""
    return (ratios >= low) & (ratios <= high)


def weight_metrics(
    weight_T: Tensor, mask_T: Tensor, beyond: tuple[Tensor, Tensor], population: Tensor
) -> dict[str, Mean]:
    """Of the weights that are applied, and of how many of the ``population`` were above and under
    the window before that; both are of its shape, tokens or sequences."""
    high, low = beyond
    return {
        "rollout_corr/rollout_is_mean": masked_mean(weight_T, mask_T),
        "rollout_corr/rollout_is_ratio_fraction_high": masked_mean(high, population),
        "rollout_corr/rollout_is_ratio_fraction_low": masked_mean(low, population),
    }


def rejection_metrics(name: str, sequences: Sequences, keep_B: Tensor) -> dict[str, Mean]:
    """Tokens and sequences that the filter called ``name`` leaves out."""
    dropped_B = (~keep_B).to(sequences.lengths_B.dtype) * sequences.lengths_B
    return {
        f"rollout_corr/{name}_masked_fraction": Mean(dropped_B.sum(), sequences.lengths_B.sum()),
        f"rollout_corr/{name}_seq_masked_fraction": masked_mean(~keep_B, sequences.trains_B),
    }
