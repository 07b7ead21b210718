"""The distance to a reference policy as a part of the loss, and its estimators."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from rlvr.learner.importance import ratios
from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean

ESTIMATORS = ("k1", "k2", "k3", "k3+")
KL_LOSS = "actor/kl_loss"
KL_COEF = "actor/kl_coef"
MAX_LOG_RATIO = 20.0
MAX_K3 = 10.0
MAX_ERROR = 0.2
"""Relative distance from the target beyond which the coefficient moves no faster."""


def kl(logprobs_T: Tensor, reference_T: Tensor, estimator: str) -> Tensor:
    """One estimate per token ``[T]`` (nats) of KL(policy, reference), differentiable.

    With d = logprob - reference logprob of a token that the policy sampled: k1 = d, k2 = d**2 / 2,
    k3 = exp(-d) - 1 + d (Schulman, "Approximating KL divergence", 2020; d held to +-20 and k3 to
    10), ``k3+`` the value of k3 with the gradient of k2, ``abs`` = |d|. In expectation k1 and k3
    are the divergence, and k2 has its gradient: k1's is zero and k3's that of KL(reference, policy)
    (arXiv:2506.09477).

    Raises:
        ValueError: there is no such estimator.
    """
    d_T = logprobs_T - reference_T
    match estimator:
        case "k1":
            return d_T
        case "abs":
            return d_T.abs()
        case "k2":
            return d_T.square() / 2
        case "k3":
            return _k3(d_T)
        case "k3+":
            k2_T = d_T.square() / 2
            return _k3(d_T).detach() + (k2_T - k2_T.detach())
        case _:
            raise ValueError(f"estimator={estimator!r}: take one of {(*ESTIMATORS, 'abs')}")


def adapted(coef: float, measured: float, *, target: float, horizon: float, steps: float) -> float:
    """The coefficient after ``steps`` more of the unit that ``horizon`` is in (arXiv:1909.08593,
    section 2.2): coef (1 + clip(measured / target - 1, -0.2, 0.2) steps / horizon)."""
    error = min(max(measured / target - 1, -MAX_ERROR), MAX_ERROR)
    return coef * (1 + error * steps / horizon)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kl:
    """coef times an estimate of KL(policy, reference) per token (GRPO, arXiv:2402.03300).

    k1 is refused: a token's logprob has no gradient on average, so it adds noise and holds nothing.
    k3 is GRPO's; k2 and ``k3+`` have the exact gradient on-policy.
    """

    coef: float
    estimator: str = "k3"
    unbiased: bool = False
    """Times r = exp(logprob - sampled logprob), which makes the expected gradient exact whatever
    policy sampled (DeepSeek-V3.2, arXiv:2512.02556). r carries a gradient under k1 and k3, whose
    value is the divergence, and none under k2 and ``k3+``, whose gradient already is its own."""

    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def __post_init__(self) -> None:
        _check(self.coef, self.estimator, unbiased=self.unbiased)

    def __call__(self, inputs: LossInputs) -> LossOutput:
        return _share(inputs, self.coef, self.estimator, unbiased=self.unbiased)


@dataclass(slots=True, kw_only=True)
class AdaptiveKl:
    """``Kl`` whose coefficient rises while the divergence is above a target and falls while it is
    below (arXiv:1909.08593); see ``adapted``."""

    coef: float
    """That a run starts from. At 0 it would stay there."""
    target: float
    """In nats per token."""
    horizon: float = 10000.0
    """Over this many steps far from the target the coefficient changes by a fifth."""
    steps: float = 1.0
    """What one update counts against the horizon; the paper counts episodes, so the samples of an
    update make its horizon of 10,000 mean the same here."""
    estimator: str = "k3"
    unbiased: bool = False
    """As in ``Kl``."""
    _now: float = field(init=False)

    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def __post_init__(self) -> None:
        _check(self.coef, self.estimator, unbiased=self.unbiased)
        for name in ("coef", "target", "horizon", "steps"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(
                    f"{name}={value}: the coefficient is multiplied by 1 + error steps / horizon, "
                    "error measured against the target; take more than 0"
                )
        if not self.steps < self.horizon / MAX_ERROR:
            raise ValueError(
                f"steps={self.steps}: one update may take off a fifth of steps / horizon, which "
                f"would be all of the coefficient at horizon={self.horizon}; take a longer horizon"
            )
        self._now = self.coef

    def __call__(self, inputs: LossInputs) -> LossOutput:
        return _share(inputs, self._now, self.estimator, unbiased=self.unbiased)

    def observe(self, means: dict[str, float]) -> None:
        """After an update whose mean divergence is ``actor/kl_loss``; nothing if that is no number,
        as in an update that was skipped."""
        measured = means[KL_LOSS]
        if math.isfinite(measured):
            self._now = adapted(
                self._now, measured, target=self.target, horizon=self.horizon, steps=self.steps
            )

    def state_dict(self) -> dict[str, float]:
        return {"coef": self._now}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._now = state["coef"]


def _k3(d_T: Tensor) -> Tensor:
    d_T = d_T.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return (torch.expm1(-d_T) + d_T).clamp(max=MAX_K3)


def _check(coef: float, estimator: str, *, unbiased: bool) -> None:
    if not 0 <= coef < math.inf:
        raise ValueError(f"coef={coef}: it holds the policy near the reference; take 0 or more")
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator={estimator!r}: take one of {ESTIMATORS}")
    if estimator == "k1" and coef > 0 and not unbiased:
        raise ValueError(
            "estimator='k1': in the loss its expected gradient is zero, so it holds nothing; take "
            "k2 or k3, or unbiased=True, or subtract it from the rewards"
        )


def _share(inputs: LossInputs, coef: float, estimator: str, *, unbiased: bool) -> LossOutput:
    if inputs.reference_logprobs_T is None:
        raise ValueError(
            "reference_logprobs_T=None: the divergence is taken from a reference policy; give its "
            "log-prob of each token"
        )
    mask_T = inputs.mask_T
    logprobs_T = masked(inputs.logprobs_T, mask_T)
    kl_T = kl(logprobs_T, masked(inputs.reference_logprobs_T, mask_T), estimator)
    if unbiased:
        ratio_T = ratios(logprobs_T - masked(inputs.sampled_logprobs_T, mask_T))
        kl_T = kl_T * (ratio_T if estimator in ("k1", "k3") else ratio_T.detach())
    return LossOutput(
        loss=coef * (kl_T * masked(inputs.weights_T, mask_T)).sum(),
        metrics={
            KL_LOSS: masked_mean(kl_T, mask_T),
            KL_COEF: masked_mean(torch.full_like(kl_T, coef), mask_T),
        },
    )
