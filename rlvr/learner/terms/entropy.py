"""The entropy of the policy as a part of the loss: paid for, or held at a target."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean

ENTROPY = "actor/entropy"
ENTROPY_COEF = "actor/entropy_coef"


def ter(entropy: Tensor, target: float, coef: float) -> Tensor:
    """Targeted entropy regularisation, coef |entropy - target|, of the mean entropy (nats)."""
    return coef * abs(entropy - target)


def adapted(
    coef: float, entropy: float, *, target: float, delta: float, low: float, high: float
) -> float:
    """The coefficient after an update of this mean ``entropy``: a ``delta`` more where that is at
    or under the ``target``, one less where above, within [low, high] (arXiv:2505.22312)."""
    moved = coef + delta if entropy <= target else coef - delta
    return min(max(moved, low), high)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntropyBonus:
    """-coef times the entropy of each token's distribution (Williams and Peng, 1991; 0.001 in
    one-shot RLVR, arXiv:2504.20571)."""

    coef: float

    def __post_init__(self) -> None:
        if not 0 <= self.coef < math.inf:
            raise ValueError(
                f"coef={self.coef}: a bonus rewards entropy, and below 0 the policy would collapse "
                "the faster; take 0 or more (0.001 is usual)"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        return _bonus(inputs, self.coef)


@dataclass(slots=True, kw_only=True)
class TargetEntropy:
    """coef |H - target| of the mean entropy H, Confucius3's TER; see ``ter``.

    Some tokens of an update do not know on which side of the target its mean lies, so they go by
    the mean of the update before: coef sign(H_before - target) times their sum of weight (H_t -
    target), and nothing in a run's first update. Those shares add up to coef |H - target| where
    the weights add up to 1, as under ``token-mean``, and the side has not changed.
    """

    target: float = 0.55
    """In nats."""
    coef: float = 0.001
    _last: float = field(init=False)

    def __post_init__(self) -> None:
        _check_target(self.target)
        if not 0 <= self.coef < math.inf:
            raise ValueError(
                f"coef={self.coef}: below 0 it would drive the entropy off its target; take 0 or "
                "more (0.001 is the paper's)"
            )
        self._last = self.target

    def __call__(self, inputs: LossInputs) -> LossOutput:
        side = (self._last > self.target) - (self._last < self.target)
        return _bonus(inputs, -side * self.coef, origin=self.target)

    def observe(self, means: dict[str, float]) -> None:
        """After an update whose mean entropy is ``actor/entropy``; nothing if that is no number."""
        if math.isfinite(means[ENTROPY]):
            self._last = means[ENTROPY]

    def state_dict(self) -> dict[str, float]:
        return {"entropy": self._last}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._last = state["entropy"]


@dataclass(slots=True, kw_only=True)
class AdaptiveEntropy:
    """A bonus that finds its own coefficient (Skywork-OR1, arXiv:2505.22312).

    After each update the coefficient moves by ``delta``; see ``adapted``. It is applied only while
    the last update's mean entropy was at or under the target, so not in a run's first update.
    """

    target: float = 0.2
    """In nats."""
    delta: float = 0.005
    low: float = 0.0
    high: float = 1.0
    initial: float = 0.0
    _coef: float = field(init=False)
    _last: float = field(init=False, default=math.inf)

    def __post_init__(self) -> None:
        _check_target(self.target)
        if not 0 < self.delta < math.inf:
            raise ValueError(
                f"delta={self.delta}: the coefficient moves by it after every update; take more "
                "than 0 (0.005 is the paper's)"
            )
        if not 0 <= self.low <= self.initial <= self.high < math.inf:
            raise ValueError(
                f"initial={self.initial}: the coefficient starts there and stays within low="
                f"{self.low} and high={self.high}; take 0 <= low <= initial <= high"
            )
        self._coef = self.initial

    def __call__(self, inputs: LossInputs) -> LossOutput:
        return _bonus(inputs, self._coef if self._last <= self.target else 0.0)

    def observe(self, means: dict[str, float]) -> None:
        """After an update whose mean entropy is ``actor/entropy``; nothing if that is no number."""
        entropy = means[ENTROPY]
        if not math.isfinite(entropy):
            return
        self._last = entropy
        self._coef = adapted(
            self._coef, entropy, target=self.target, delta=self.delta, low=self.low, high=self.high
        )

    def state_dict(self) -> dict[str, float]:
        return {"coef": self._coef, "entropy": self._last}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._coef, self._last = state["coef"], state["entropy"]


def _check_target(target: float) -> None:
    if not 0 <= target < math.inf:
        raise ValueError(f"target={target}: it is an entropy in nats; take 0 or more")


def _bonus(inputs: LossInputs, coef: float, *, origin: float = 0.0) -> LossOutput:
    entropy_T = masked(inputs.entropy_T - origin, inputs.mask_T)
    weights_T = masked(inputs.weights_T, inputs.mask_T)
    return LossOutput(
        loss=-coef * (entropy_T * weights_T).sum(),
        metrics={
            ENTROPY: masked_mean(inputs.entropy_T, inputs.mask_T),
            ENTROPY_COEF: masked_mean(torch.full_like(entropy_T, coef), inputs.mask_T),
        },
    )
