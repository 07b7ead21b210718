"""What a step minimises: a policy loss, corrected for who sampled, and terms beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch

from rlvr.learner.loss import (
    Correction,
    LossInputs,
    LossOutput,
    Mean,
    PolicyLoss,
    masked_mean,
)

MASKED = "rollout_corr/rollout_rs_masked_fraction"


@runtime_checkable
class Controlled(Protocol):
    """A term whose coefficient follows what was measured; the same on every rank."""

    def observe(self, means: dict[str, float]) -> None:
        """The means over the whole update that just ended, such as ``actor/entropy``."""
        ...

    def state_dict(self) -> dict[str, float]: ...

    def load_state_dict(self, state: dict[str, float]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A policy loss like any other.

    Corrections multiply each other and weight the policy loss alone: a term such as a KL penalty
    or an entropy bonus sees all tokens with their plain weights.
    """

    loss: PolicyLoss
    terms: tuple[PolicyLoss, ...] = ()
    corrections: tuple[Correction, ...] = ()

    def __call__(self, inputs: LossInputs) -> LossOutput:
        metrics: dict[str, Mean] = {}
        factor_T = torch.ones_like(inputs.weights_T)
        for correction in self.corrections:
            one_T, measured = correction(inputs)
            factor_T = factor_T * one_T.detach()
            metrics |= measured
        if self.corrections:
            metrics[MASKED] = masked_mean(factor_T == 0, inputs.mask_T)
        policy = self.loss(replace(inputs, weights_T=inputs.weights_T * factor_T))
        loss = policy.loss
        metrics |= policy.metrics
        for term in self.terms:
            added = term(inputs)
            loss = loss + added.loss
            metrics = added.metrics | metrics
        return LossOutput(loss=loss, metrics=metrics)

    @property
    def whole_sequences(self) -> bool:
        """Whether a token's share depends on the other tokens of its sequence."""
        return any(getattr(part, "whole_sequences", False) for part in self._parts())

    @property
    def pairs(self) -> bool:
        """Whether sequences come as pairs of a better and a worse one."""
        return any(getattr(part, "pairs", False) for part in self._parts())

    @property
    def needs(self) -> frozenset[str]:
        """Log-probs that have to be computed beforehand: ``proximal``, ``reference``."""
        return frozenset[str]().union(*(getattr(part, "needs", ()) for part in self._parts()))

    def observe(self, means: dict[str, float]) -> None:
        for _, term in self._controlled():
            term.observe(means)

    def state_dict(self) -> dict[str, Any]:
        return {name: term.state_dict() for name, term in self._controlled()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, term in self._controlled():
            if name in state:
                term.load_state_dict(state[name])

    def _parts(self) -> Iterable[object]:
        return (self.loss, *self.terms, *self.corrections)

    def _controlled(self) -> Iterable[tuple[str, Controlled]]:
        for index, term in enumerate(self.terms):
            if isinstance(term, Controlled):
                yield f"{index}:{type(term).__name__}", term
