"""REINFORCE inside a trust region on probabilities rather than on their ratio, per token."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlvr.learner.importance import ratio_metrics, ratios, sampled_log_ratios, score_loss
from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean

SMALLEST_REST = 1e-8
"""Keeps the log of what a token leaves to all others finite where it leaves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DppoTv:
    """DPPO with the total variation of "this token or another" (arXiv:2602.04879).

    With p the trained and q the sampling probability, a token is dropped where its advantage A has
    already moved it further than ``max_shift``: A > 0 and p - q > max_shift, or A < 0 and
    q - p > max_shift. The others count -min(p / q, weight_cap) A logprob, the first factor
    constant. So rare tokens, whose ratio is noise, stay; a clip on the ratio drops them first. The
    region is around the sampler itself, so no correction for it belongs beside this loss.
    """

    max_shift: float = 0.15
    weight_cap: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.max_shift < 1:
            raise ValueError(
                f"max_shift={self.max_shift}: it bounds a difference of two probabilities, so take "
                "more than 0 and less than 1 (0.15 is usual)"
            )
        _check_cap(self.weight_cap)

    def __call__(self, inputs: LossInputs) -> LossOutput:
        advantages_T = masked(inputs.advantages_T, inputs.mask_T)
        keep_T = tv_keep(
            *log_probabilities(inputs),
            advantages_T,
            max_rise=self.max_shift,
            max_fall=self.max_shift,
        )
        return _inside(inputs, keep_T, self.weight_cap)


@dataclass(frozen=True, slots=True, kw_only=True)
class DppoKl:
    """DPPO with the KL divergence of "this token or another" (arXiv:2602.04879).

    As ``DppoTv``, but a token is dropped where A has moved it in its own direction and
    q log(q / p) + (1 - q) log((1 - q) / (1 - p)) > max_kl.
    """

    max_kl: float = 0.05
    """In nats."""
    weight_cap: float = 20.0

    def __post_init__(self) -> None:
        if not self.max_kl > 0:
            raise ValueError(
                f"max_kl={self.max_kl}: at 0 or less every token that moved would be dropped; take "
                "more than 0 (0.05 is usual)"
            )
        _check_cap(self.weight_cap)

    def __call__(self, inputs: LossInputs) -> LossOutput:
        advantages_T = masked(inputs.advantages_T, inputs.mask_T)
        keep_T = kl_keep(*log_probabilities(inputs), advantages_T, max_kl=self.max_kl)
        return _inside(inputs, keep_T, self.weight_cap)


def tv_keep(
    logprobs_T: Tensor,
    sampled_logprobs_T: Tensor,
    advantages_T: Tensor,
    *,
    max_rise: float,
    max_fall: float,
) -> Tensor:
    """Bool ``[T]``, False on the tokens that ``DppoTv`` drops: A > 0 and p - q > max_rise, or A < 0
    and q - p > max_fall, with p the trained and q the sampling probability."""
    risen_T = logprobs_T.detach().exp() - sampled_logprobs_T.exp()
    above_T = (advantages_T > 0) & (risen_T > max_rise)
    below_T = (advantages_T < 0) & (-risen_T > max_fall)
    return ~(above_T | below_T)


def kl_keep(
    logprobs_T: Tensor, sampled_logprobs_T: Tensor, advantages_T: Tensor, *, max_kl: float
) -> Tensor:
    """Bool ``[T]``, False on the tokens that ``DppoKl`` drops: moved the way of their advantage and
    with q log(q / p) + (1 - q) log((1 - q) / (1 - p)) > max_kl, p and q as in ``tv_keep``."""
    trained_T = logprobs_T.detach()
    log_ratio_T = trained_T - sampled_logprobs_T
    rest_T = (-trained_T.expm1()).clamp(min=SMALLEST_REST)
    sampled_rest_T = (-sampled_logprobs_T.expm1()).clamp(min=SMALLEST_REST)
    rest_kl_T = sampled_rest_T * (sampled_rest_T.log() - rest_T.log())
    kl_T = rest_kl_T - sampled_logprobs_T.exp() * log_ratio_T
    return ~((kl_T > max_kl) & (advantages_T * log_ratio_T.sign() > 0))


def _check_cap(weight_cap: float) -> None:
    if not weight_cap >= 1:
        raise ValueError(
            f"weight_cap={weight_cap}: under 1 it would shrink the on-policy gradient, whose "
            "weight is 1; take 1 or more (20 is usual)"
        )


def log_probabilities(inputs: LossInputs) -> tuple[Tensor, Tensor]:
    """Of the trained and the sampling weights ``[T]``, constant, never above 0."""
    pair = (inputs.logprobs_T.detach(), inputs.sampled_logprobs_T)
    trained_T, sampled_T = (masked(one_T, inputs.mask_T).clamp(max=0) for one_T in pair)
    return trained_T, sampled_T


def _inside(inputs: LossInputs, keep_T: Tensor, weight_cap: float) -> LossOutput:
    log_ratio_T = sampled_log_ratios(inputs)
    kept_T = masked(ratios(log_ratio_T).clamp(max=weight_cap), keep_T)
    metrics = ratio_metrics(inputs, log_ratio_T)
    metrics["actor/pg_dropfrac"] = masked_mean(~keep_T, inputs.mask_T)
    return LossOutput(loss=score_loss(inputs, kept_T), metrics=metrics)
