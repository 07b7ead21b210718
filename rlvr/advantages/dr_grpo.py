"""Group-relative advantages without the division by the deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.advantages.grpo import Grpo
from rlvr.types import GradedGroup

_CENTRED = Grpo(std="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrGrpo:
    """``r - mean`` over the rewards of a problem (arXiv:2503.20783).

    The deviation would give most weight to problems that are almost always or almost never
    solved. Goes with the aggregation ``seq-mean-token-sum-norm``.
    """

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return _CENTRED(group)
