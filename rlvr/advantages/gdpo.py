"""Several rewards, each normalised on its own before they are added up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlvr.advantages.grpo import Grpo
from rlvr.advantages.whitening import whitened
from rlvr.types import GradedGroup, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Gdpo:
    """``whiten(sum_k w_k (r_k - mean_k) / (std_k + eps))``: GDPO (arXiv:2601.05242).

    ``r_k`` are the verdicts' named parts (those of ``rlvr.rewards.compose.Sum`` are its rewards),
    ``mean_k`` and ``std_k`` go over the rollouts of a problem, and the sum is brought to mean 0 and
    deviation 1 over the batch. Added up first, rewards of different meaning may cancel out, and
    the one that varies most hides the others.

    The verdict's own reward is not read, so neither shaping nor a KL penalty on it counts. A part
    that is equal in all of a group, or of which there is one, adds zero.

    Raises:
        ValueError: when called with a verdict that has no part of one of the names.
    """

    weights: Mapping[str, float]
    """Of each part, by its name."""
    over: str = "tokens"
    """What the batch's statistics count. ``tokens`` weighs each rollout with its length, as verl
    does: ``(x - mean) / sqrt(var + 1e-8)``. ``rollouts`` counts each once, as in the paper and TRL:
    ``(x - mean) / (std + eps)``."""
    ddof: int = 1
    """1 for unbiased deviations (verl, TRL), 0 for the population's; ``tokens`` whitens with 1."""
    eps: float = 1e-6
    """Added to the deviations: 1e-6 in verl, 1e-4 in TRL."""

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError(
                "weights={}: there is nothing to add up; take the name and weight of each part, "
                "such as {'math': 1.0, 'format': 0.5}"
            )
        for name, weight in self.weights.items():
            if not (math.isfinite(weight) and weight > 0):
                raise ValueError(
                    f"weights.{name}={weight}: a part counts for something or is left out; take a "
                    "finite number above 0"
                )
        if self.over not in ("tokens", "rollouts"):
            raise ValueError(f"over={self.over!r}: take 'tokens' or 'rollouts'")
        self._normaliser()  # Its constructor judges ddof and eps.

    def __call__(self, group: GradedGroup) -> Sequence[float]:
        return self.over_batch((group,))[0]

    def over_batch(self, groups_P: Sequence[GradedGroup]) -> Sequence[Sequence[float]]:
        sums = [self._sum(group) for group in groups_P]
        if self.over == "tokens":
            lengths = [[len(r.completion_ids_T) for r in group.rollouts_G] for group in groups_P]
            return whitened(sums, lengths)
        normalised = iter(self._normaliser().normalised([x for row in sums for x in row]))
        return [[next(normalised) for _ in row] for row in sums]

    def _sum(self, group: GradedGroup) -> list[float]:
        """Of each rollout, the weighted sum of its normalised parts."""
        normaliser = self._normaliser()
        columns: list[list[float]] = []
        for name, weight in self.weights.items():
            parts_G = [_part(verdict, name, group) for verdict in group.verdicts_G]
            columns.append([weight * a for a in normaliser.normalised(parts_G)])
        return [math.fsum(row) for row in zip(*columns, strict=True)]

    def _normaliser(self) -> Grpo:
        return Grpo(ddof=self.ddof, eps=self.eps)


def _part(verdict: Verdict, name: str, group: GradedGroup) -> float:
    if name not in verdict.parts:
        raise ValueError(
            f"weights.{name}: a verdict on {group.problem.id} has no part of that name, only "
            f"{sorted(verdict.parts)}; take names that the reward logs for every answer"
        )
    return verdict.parts[name]
