"""The contract of an advantage estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rlvr.types import GradedGroup


class Advantage(Protocol):
    """Turns a group's rewards into credit, one number per graded rollout, in the group's order."""

    def __call__(self, group: GradedGroup) -> Sequence[float]: ...
