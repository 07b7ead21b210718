"""Advantages from a critic that look further ahead in longer completions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlvr.advantages.base import Episode, TokenCredit
from rlvr.advantages.gae import check_shares, token_credit


def length_adaptive_lambda(tokens: int, *, alpha: float = 0.05) -> float:
    """``1 - 1 / (alpha tokens)``, and 0 up to ``1 / alpha`` tokens (VAPO, arXiv:2504.05118).

    The weights ``lam^t`` of what follows then add up to ``alpha tokens``: the same share of every
    completion.

    Raises:
        ValueError: fewer tokens than 1.
    """
    if not tokens >= 1:
        raise ValueError(f"tokens={tokens}: a completion has at least one; take 1 or more")
    return max(0.0, 1 - 1 / (alpha * tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthAdaptiveGae:
    """``gae`` with ``length_adaptive_lambda`` for the policy's advantages: VAPO (arXiv:2504.05118).

    With a fixed lambda of 0.95 the reward at the end has next to no part in the advantages of a
    thousand tokens before it. The critic's targets are those of ``Gae``.
    """

    alpha: float = 0.05
    """0.05 in the paper; 1.5 is in use for completions that are short beside it."""
    gamma: float = 1.0
    lambda_critic: float = 1.0
    whiten: bool = False
    """Whether advantages are brought to mean 0 and variance 1 over all tokens of the batch."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ValueError(
                f"alpha={self.alpha}: times a length it says how many tokens count; take a finite "
                "number above 0, such as 0.05"
            )
        check_shares(gamma=self.gamma, lambda_critic=self.lambda_critic)

    @property
    def needs_values(self) -> bool:
        return True

    def over_tokens(self, episodes: Sequence[Episode]) -> Sequence[TokenCredit]:
        return token_credit(
            episodes,
            gamma=self.gamma,
            lambda_actor=lambda tokens: length_adaptive_lambda(tokens, alpha=self.alpha),
            lambda_critic=self.lambda_critic,
            whiten=self.whiten,
        )
