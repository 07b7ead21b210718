"""What a rollout's tokens pay for leaving the reference policy."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlvr.ragged import Floats

MAX_LOG_RATIO = 20.0
MAX_K3 = 10.0
"""One token whose ratio runs away must not outweigh all rewards of the batch."""
MAX_ERROR = 0.2
"""Largest relative error that the controller answers to."""

ESTIMATORS = ("k1", "k2", "k3", "abs")


def kl_estimate(logprob: float, reference_logprob: float, *, estimator: str) -> float:
    """Of KL(policy || reference) from one token that the policy drew (nats).

    With ``d = logprob - reference_logprob``: k1 is ``d``, k2 ``d^2 / 2``, k3 ``exp(-d) - 1 + d``
    (within 20 for d and at most 10), abs ``|d|`` (Schulman, 2020, "Approximating KL divergence").
    k1 and k3 have the right mean; k2 and k3 are never negative.
    """
    return float(_estimates(np.array([logprob - reference_logprob]), estimator)[0])


def _estimates(d_T: Floats, estimator: str) -> Floats:
    match estimator:
        case "k1":
            return d_T
        case "k2":
            return d_T * d_T / 2
        case "k3":
            d_T = d_T.clip(-MAX_LOG_RATIO, MAX_LOG_RATIO)
            # Where d is next to 0 the rounding of exp may leave less than nothing.
            return (np.expm1(-d_T) + d_T).clip(0, MAX_K3)
        case "abs":
            return np.abs(d_T)
        case _:
            raise ValueError(f"estimator={estimator!r}: take one of {', '.join(ESTIMATORS)}")


@dataclass(slots=True, kw_only=True)
class RewardKl:
    """A KL penalty on the reward of each token: ``r_t - coef * k_t``.

    k1 in the reward has the gradient of the KL divergence itself; k2 and k3 have not, and belong
    into the loss. With a ``target`` the coefficient follows the divergence that is measured
    (arXiv:1909.08593): ``coef *= 1 + clip(kl / target - 1, -0.2, 0.2) * samples / horizon``.
    """

    coef: float
    """Reward per nat; what the controller starts from."""
    estimator: str = "k1"
    target: float | None = None
    """Divergence to keep to, in the unit of what is observed (nats per token in verl); None keeps
    ``coef`` as it is."""
    horizon: int = 10_000
    """Samples over which the controller may change the coefficient by a fifth."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.coef) and self.coef >= 0):
            raise ValueError(
                f"coef={self.coef}: a negative penalty would pay for leaving the reference; take a "
                "finite number of at least 0, such as 1e-3"
            )
        if self.estimator not in ESTIMATORS:
            raise ValueError(f"estimator={self.estimator!r}: take one of {', '.join(ESTIMATORS)}")
        if self.horizon < 1:
            raise ValueError(f"horizon={self.horizon}: counts samples; take at least 1")
        if self.target is None:
            return
        if not (math.isfinite(self.target) and self.target > 0):
            raise ValueError(
                f"target={self.target}: the controller divides by it; take a finite number above "
                "0, or null for a coefficient that stays as it is"
            )
        if not self.coef:
            raise ValueError(
                f"coef={self.coef} with target={self.target}: the controller multiplies, and "
                "never leaves 0; take a small coef such as 1e-3"
            )

    def penalties(
        self, logprobs_T: Sequence[float], reference_logprobs_T: Sequence[float]
    ) -> array[float]:
        """``coef * k_t`` of each token, to be taken off its reward.

        Raises:
            ValueError: there are not as many log-probs of the reference.
        """
        if len(logprobs_T) != len(reference_logprobs_T):
            raise ValueError(
                f"{len(logprobs_T)} log-probs of the policy with {len(reference_logprobs_T)} of "
                "the reference: give each token one of each"
            )
        d_T = np.asarray(logprobs_T, np.float64) - np.asarray(reference_logprobs_T, np.float64)
        return array("d", (self.coef * _estimates(d_T, self.estimator)).tobytes())

    def observe(self, kl: float, samples: int) -> None:
        """Move the coefficient after a batch of ``samples`` rollouts whose mean divergence was
        ``kl``; without a target, do nothing.

        Raises:
            ValueError: ``kl`` is not finite, or the batch has more than 5 horizons.
        """
        if self.target is None:
            return
        if not math.isfinite(kl):
            raise ValueError(
                f"kl={kl}: would make the penalty NaN for the rest of the run; look at the "
                "log-probs of the policy and its reference"
            )
        if samples > self.horizon / MAX_ERROR:
            raise ValueError(
                f"samples={samples} with horizon={self.horizon}: one step would turn the penalty "
                f"around; take a horizon of at least {math.ceil(samples * MAX_ERROR)}"
            )
        error = max(-MAX_ERROR, min(MAX_ERROR, kl / self.target - 1))
        self.coef *= 1 + error * samples / self.horizon

    def state_dict(self) -> dict[str, float]:
        return {} if self.target is None else {"coef": self.coef}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take up a controller's coefficient; one that is fixed stays as it is set."""
        if self.target is not None:
            self.coef = state.get("coef", self.coef)
