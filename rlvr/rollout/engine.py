"""The contract of a rollout engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rlvr.types import Rollout
from rlvr.weights.base import WeightManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. The learner applies the same temperature to its logits."""

    temperature: float = 1.0
    """0 is greedy (evaluation only)."""
    top_p: float = 1.0
    max_tokens: int = 1024
    """Completion tokens at most; past it a rollout finishes with ``length``."""


class RolloutEngine(Protocol):
    """Turns prompts into rollouts under the weights that it last loaded."""

    async def generate(
        self, prompt_ids: Sequence[int], *, sampling: Sampling, seeds: Sequence[int]
    ) -> tuple[Rollout, ...]:
        """One rollout per seed, in the order of the seeds.

        The same prompt, seed and weights give the same tokens, whatever else is in flight. Calls
        may overlap, each other and ``load_weights``: a rollout that spans a load keeps its tokens,
        goes on under the new weights, and carries the version of each token.

        Raises:
            WeightProofError: the engine holds weights that failed their proof.
        """
        ...

    async def load_weights(self, manifest: WeightManifest) -> Mapping[str, float]:
        """Load, prove and confirm: every token sampled after the return is from that version.

        Returns ``version`` as it was confirmed, and what was measured on the way.

        Raises:
            WeightProofError: what arrived is not what was sent; the engine refuses to generate
                until a later load succeeds.
        """
        ...
