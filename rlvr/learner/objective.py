"""What a step minimises: a policy loss, corrected for who sampled, and terms beside it."""

from __future__ import annotations

from collections import Counter
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

    Raises:
        ValueError: when called without proximal log-probs, where a correction needs them beside a
            loss with a ratio of its own (see ``PolicyLoss``).
    """

    loss: PolicyLoss
    terms: tuple[PolicyLoss, ...] = ()
    corrections: tuple[Correction, ...] = ()

    def __call__(self, inputs: LossInputs) -> LossOutput:
        self._refuse_a_ratio_twice(inputs)
        metrics: dict[str, Mean] = {}
        factor_T = torch.ones_like(inputs.weights_T)
        for correction in self.corrections:
            one_T, measured = correction(inputs)
            factor_T = factor_T * one_T.detach()
            metrics |= measured
        if self.corrections:
            metrics[MASKED] = masked_mean(factor_T == 0, inputs.mask_T)
        correct_T = inputs.correct_weights_T
        corrected = replace(
            inputs,
            weights_T=inputs.weights_T * factor_T,
            correct_weights_T=None if correct_T is None else correct_T * factor_T,
        )
        policy = self.loss(corrected)
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
        """
        Raises:
            ValueError: it is the state of other terms.
        """
        terms = dict(self._controlled())
        if state.keys() != terms.keys():
            raise ValueError(
                f"the checkpoint remembers {', '.join(state) or 'nothing'}, and this objective has "
                f"{', '.join(terms) or 'nothing'} to go on: a coefficient would start over; resume "
                "with the saved learner.terms, or start from an export of the weights"
            )
        for name, term in terms.items():
            term.load_state_dict(state[name])

    def _refuse_a_ratio_twice(self, inputs: LossInputs) -> None:
        if inputs.proximal_logprobs_T is not None or not getattr(self.loss, "uses_ratio", False):
            return
        twice = [c for c in self.corrections if "proximal" in getattr(c, "needs", ())]
        if twice:
            raise ValueError(
                f"proximal_logprobs_T=None with {type(twice[0]).__name__} on "
                f"{type(self.loss).__name__}: both would weigh tokens by the same ratio, to the "
                "sampler; give each token's log-prob under the weights that the step starts from, "
                "or leave the correction out"
            )

    def _parts(self) -> Iterable[object]:
        return (self.loss, *self.terms, *self.corrections)

    def _controlled(self) -> Iterable[tuple[str, Controlled]]:
        """By class, and by the place among those of that class: other terms don't rename it."""
        seen: Counter[str] = Counter()
        for term in self.terms:
            if isinstance(term, Controlled):
                name = type(term).__name__
                yield f"{name}:{seen[name]}", term
                seen[name] += 1
