"""The contracts of credit: how rewards become advantages.

An estimator offers one of them. What a problem's own rollouts decide is an ``Advantage``; what
needs the whole batch, a ``BatchAdvantage``; what tells tokens apart, a ``TokenAdvantage``; what
compares rollouts, a ``PairSelection``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rlvr.types import GradedGroup, PrefixValues


class Advantage(Protocol):
    """Turns a group's rewards into credit, one number per graded rollout, in the group's order."""

    def __call__(self, group: GradedGroup) -> Sequence[float]: ...


@runtime_checkable
class BatchAdvantage(Protocol):
    """Credit that depends on the other problems of the step.

    Called with a single group, it takes that for the whole batch.
    """

    def __call__(self, group: GradedGroup) -> Sequence[float]: ...

    def over_batch(self, groups_P: Sequence[GradedGroup]) -> Sequence[Sequence[float]]:
        """As many numbers for each group as it has graded rollouts, in the order given."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A graded rollout, token by token."""

    rewards_T: Sequence[float]
    """Of each completion token: the verdict's on the last, less any penalty on its own token."""
    values_T: Sequence[float] | None = None
    """The critic's estimate of the return from each token on, before that token is drawn."""
    problem: int = 0
    """Which of the batch's problems it belongs to."""
    prefix_values: PrefixValues = ()
    """Of its rollout, where the credit needs them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCredit:
    advantages_T: Sequence[float]
    returns_T: Sequence[float] | None = None
    """The critic's targets; None from an estimator that has no critic."""


@runtime_checkable
class TokenAdvantage(Protocol):
    """Credit that differs between the tokens of a rollout."""

    @property
    def needs_values(self) -> bool:
        """Whether it works on a critic's values."""
        ...

    def over_tokens(self, episodes: Sequence[Episode]) -> Sequence[TokenCredit]:
        """Of every episode of the batch, in the order given."""
        ...


@runtime_checkable
class PairSelection(Protocol):
    """Picks pairs of rollouts of one problem, the better one first (indices into the group)."""

    def pairs(self, group: GradedGroup) -> Sequence[tuple[int, int]]: ...


@runtime_checkable
class Stateful(Protocol):
    """An estimator that remembers, such as a running mean; a checkpoint carries it."""

    def state_dict(self) -> dict[str, float]: ...

    def load_state_dict(self, state: dict[str, float]) -> None: ...
