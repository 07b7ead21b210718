"""The loss of a critic, and how much of the returns its values explain."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from rlvr.learner.loss import LossOutput, Mean, masked


def value_loss(
    values_T: Tensor,
    returns_T: Tensor,
    old_values_T: Tensor,
    weights_T: Tensor,
    mask_T: Tensor,
    *,
    clip: float | None,
) -> LossOutput:
    """PPO's loss of a critic (arXiv:1707.06347), with values that may not jump.

    Per token, with v the value (it carries the gradient), o the one before the step's first
    update, R the return (all in units of reward): max((v - R)^2, (clip(v, o - clip, o + clip) -
    R)^2) / 2; without ``clip``: (v - R)^2 / 2. All are ``[T]``; the share (scalar) is the sum over
    the tokens that train, each times its weight. ``explained_variance_of`` takes the metrics'
    means.

    Raises:
        ValueError: a ``clip`` that is not above 0.
    """
    if clip is not None and not clip > 0:
        raise ValueError(
            f"clip={clip}: it is how far a value may move in one step, so at 0 or less none could "
            "learn; take more than 0 (0.2 to 0.5 is usual), or None for no bound"
        )
    values_T, returns_T = masked(values_T, mask_T), masked(returns_T, mask_T)
    error_T = (values_T - returns_T).square()
    loss_T, held_T = error_T, torch.zeros_like(mask_T)
    if clip is not None:
        old_T = masked(old_values_T, mask_T)
        near_T = old_T + (values_T - old_T).clamp(-clip, clip)
        near_error_T = (near_T - returns_T).square()
        loss_T, held_T = torch.maximum(error_T, near_error_T), near_error_T > error_T
    loss_T = loss_T / 2

    residual_T = returns_T - values_T
    return LossOutput(
        loss=(loss_T * masked(weights_T, mask_T)).sum(),
        metrics={
            "critic/vf_loss": _mean(loss_T, mask_T),
            "critic/vf_clipfrac": _mean(held_T, mask_T),
            "critic/vpred_mean": _mean(values_T, mask_T),
            "critic/returns/mean": _mean(returns_T, mask_T),
            "critic/returns/square_mean": _mean(returns_T.square(), mask_T),
            "critic/residuals/mean": _mean(residual_T, mask_T),
            "critic/residuals/square_mean": _mean(residual_T.square(), mask_T),
        },
    )


def explained_variance(returns: Tensor, values: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns), of any shape: 1 for a perfect critic, 0 for one
    that knows no more than a constant; NaN where the returns do not vary."""
    returns, residuals = returns.detach().double(), (returns - values).detach().double()
    return _explained(
        residuals.var(correction=0).item(), returns.var(correction=0).item(), floor=0.0
    )


def explained_variance_of(means: Mapping[str, float]) -> float:
    """The same from the means of what ``value_loss`` measures, over however many micro-batches and
    ranks they were taken."""
    residual, spread = (
        means[f"critic/{name}/square_mean"] - means[f"critic/{name}/mean"] ** 2
        for name in ("residuals", "returns")
    )
    # A difference of squares leaves this much noise where the returns are all the same.
    return _explained(residual, spread, floor=1e-12 * means["critic/returns/square_mean"])


def _explained(residual: float, spread: float, *, floor: float) -> float:
    return 1 - residual / spread if spread > floor else math.nan


def _mean(values_T: Tensor, mask_T: Tensor) -> Mean:
    """In float64: variances are differences of these."""
    return Mean(masked(values_T.detach().double(), mask_T).sum(), mask_T.sum())
