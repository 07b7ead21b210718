"""Graded groups whose rewards are shaped, as training sees them. Evaluation asks the grader."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rlvr.rewards.base import Shaping
from rlvr.types import GradedGroup, RolloutGroup


class Grader(Protocol):
    async def grade(self, group: RolloutGroup) -> GradedGroup: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapedGrader:
    """Grades, then lets each shaping change the rewards in turn."""

    grader: Grader
    shaping: Sequence[Shaping]

    async def grade(self, group: RolloutGroup) -> GradedGroup:
        """As the grader does; each shaping's change is a part of the verdict, under its name.

        Raises:
            ValueError: a shaping returned the wrong number of rewards, or one that is not finite.
        """
        graded = await self.grader.grade(group)
        for shaping in self.shaping if graded.rollouts_G else ():
            graded = shaped(graded, shaping)
        return graded


def shaped(group: GradedGroup, shaping: Shaping) -> GradedGroup:
    """The group with the rewards that ``shaping`` gives it; raises as ``ShapedGrader`` does."""
    name = part_name(shaping)
    rewards = [float(reward) for reward in shaping(group)]
    if len(rewards) != len(group.verdicts_G):
        raise ValueError(
            f"shaping {name} returned {len(rewards)} rewards for the {len(group.verdicts_G)} "
            f"graded rollouts of problem {group.problem.id!r}; it has to return one for each"
        )
    for reward, verdict in zip(rewards, group.verdicts_G, strict=True):
        if not math.isfinite(reward):
            raise ValueError(
                f"shaping {name} made {reward} of the reward {verdict.reward} on problem "
                f"{group.problem.id!r}; a reward is a finite number. Correct the shaping"
            )
    return replace(
        group,
        verdicts_G=tuple(
            replace(
                verdict,
                reward=reward,
                parts=_with(verdict.parts, name, reward - (verdict.reward or 0.0)),
            )
            for reward, verdict in zip(rewards, group.verdicts_G, strict=True)
        ),
    )


def part_name(shaping: Shaping) -> str:
    """The name of its class in snake_case, such as ``soft_overlong``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(shaping).__name__).lower()


def _with(parts: Mapping[str, float], name: str, change: float) -> dict[str, float]:
    """Two shapings of one class add up."""
    return {**parts, name: parts.get(name, 0.0) + change}
