"""Credit for each step of a rollout, told by what becomes of its beginning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rlvr.advantages.base import Episode, TokenCredit
from rlvr.types import PrefixValues


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMonteCarlo:
    """``Q_k - Q_{k-1}`` on each token of step k, where ``Q_k`` is the mean reward of what was
    continued from its end (arXiv:2406.14532; VinePPO, arXiv:2410.01679).

    ``Q_0`` is that of the bare prompt. Where the last prefix is not the whole completion, one more
    step ends with it, and its Q is the sum of the episode's own rewards. So a right step keeps its
    credit in a rollout that goes wrong later on. A rollout without prefix values gets zeros.

    Raises:
        ValueError: when called with prefixes that are not ascending from 0 tokens, or longer than
            the completion.
    """

    @property
    def needs_values(self) -> bool:
        return False

    @property
    def needs_prefix_values(self) -> bool:
        return True

    def over_tokens(self, episodes: Sequence[Episode]) -> Sequence[TokenCredit]:
        return [TokenCredit(advantages_T=_by_step(episode)) for episode in episodes]


def _by_step(episode: Episode) -> list[float]:
    tokens = len(episode.rewards_T)
    values = episode.prefix_values
    if not values:
        return [0.0] * tokens
    _check(values, tokens)
    if values[-1][0] < tokens:
        values = (*values, (tokens, sum(episode.rewards_T)))
    advantages_T: list[float] = []
    for (begin, before), (end, after) in pairwise(values):
        advantages_T += [after - before] * (end - begin)
    return advantages_T


def _check(prefix_values: PrefixValues, tokens: int) -> None:
    ends = [end for end, _ in prefix_values]
    ascending = all(before < after for before, after in pairwise(ends))
    if ends[0] != 0 or not ascending or ends[-1] > tokens:
        raise ValueError(
            f"prefixes of {ends} tokens in a completion of {tokens}: take ascending lengths from 0 "
            f"to at most {tokens}"
        )
