"""Credit for what was right in wrong answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlvr.types import GradedGroup, Outcome


def step_weighted(
    group: GradedGroup, right_steps_G: Sequence[Sequence[bool]], *, beta: float = 0.5
) -> list[list[float]]:
    """``beta_t (r - mean)`` of each token of each rollout, with ``beta_t = beta`` on the tokens of
    right steps of an incorrect answer and 1 elsewhere: the advantages of the loss ``BcpgNsa``
    (arXiv:2505.14403).

    ``right_steps_G`` says of each token whether a judge called its step right. A beta of 1 makes it
    BCPG, 0 spares right steps, and below 0 they are learnt from.

    Raises:
        ValueError: beta is beyond 1 or -1, or there is not one label for each completion token.
    """
    if not -1 <= beta <= 1:
        raise ValueError(
            f"beta={beta}: right steps of a wrong answer would weigh more than wrong ones; take a "
            "number from -1 to 1 (0.5 is the paper's)"
        )
    lengths_G = [len(rollout.completion_ids_T) for rollout in group.rollouts_G]
    labels_G = [len(right_T) for right_T in right_steps_G]
    if labels_G != lengths_G:
        raise ValueError(
            f"right_steps_G has {labels_G} labels for rollouts of {lengths_G} tokens; give one for "
            "each completion token"
        )
    rewards_G = group.rewards_G
    mean = math.fsum(rewards_G) / max(1, len(rewards_G))
    advantages_G: list[list[float]] = []
    for reward, verdict, right_T in zip(rewards_G, group.verdicts_G, right_steps_G, strict=True):
        spared = 1.0 if verdict.outcome is Outcome.CORRECT else beta
        advantages_G.append([(reward - mean) * (spared if right else 1.0) for right in right_T])
    return advantages_G
