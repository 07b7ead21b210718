"""Advantages from a critic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rlvr.advantages.base import Episode, TokenCredit
from rlvr.advantages.whitening import whitened_array
from rlvr.ragged import Floats, Ints, cut, joined, to_go


def gae(
    rewards_T: Sequence[float],
    values_T: Sequence[float],
    *,
    gamma: float,
    lam: float,
    mask_T: Sequence[bool] | None = None,
) -> tuple[list[float], list[float]]:
    """Generalised advantage estimation (arXiv:1506.02438): advantages and returns of each token.

    ``delta_t = r_t + gamma V_{t+1} - V_t``, ``A_t = delta_t + gamma lam A_{t+1}`` and
    ``R_t = A_t + V_t``, where the value and the advantage after the last token are 0. Tokens
    outside ``mask_T``, which the policy did not choose, are skipped: the others get what they would
    if these were not there, and these get zeros.

    Raises:
        ValueError: there are not as many values, or entries of the mask, as rewards.
    """
    tokens = len(rewards_T)
    chosen_T = np.ones(tokens, np.bool_) if mask_T is None else np.asarray(mask_T, np.bool_)
    if len(values_T) != tokens or len(chosen_T) != tokens:
        raise ValueError(
            f"{tokens} rewards with {len(values_T)} values and a mask of {len(chosen_T)}: give "
            "each token one of each"
        )
    advantages_T, returns_T = np.zeros((2, tokens))
    advantages_T[chosen_T], returns_T[chosen_T] = _estimates(
        np.asarray(rewards_T, np.float64)[chosen_T],
        np.asarray(values_T, np.float64)[chosen_T],
        np.array([chosen_T.sum()]),
        gamma=gamma,
        lams_R=np.array([lam]),
    )
    return advantages_T.tolist(), returns_T.tolist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gae:
    """``gae`` with one lambda for the policy's advantages and one for the critic's targets.

    Equal lambdas are PPO (arXiv:1707.06347); both 1 and ``gamma`` 1, where the advantage is the
    reward less the value, Open-Reasoner-Zero's (arXiv:2503.24290). A ``lambda_actor`` below a
    ``lambda_critic`` of 1 is the decoupled estimation of VC-PPO (arXiv:2503.01491): the critic
    learns from the reward itself, however far it is, and the policy from less noise.
    """

    gamma: float = 1.0
    lambda_actor: float = 0.95
    lambda_critic: float = 1.0
    whiten: bool = False
    """Whether advantages are brought to mean 0 and variance 1 over all tokens of the batch (verl,
    OpenRLHF). The returns never are."""

    def __post_init__(self) -> None:
        check_shares(
            gamma=self.gamma, lambda_actor=self.lambda_actor, lambda_critic=self.lambda_critic
        )

    @property
    def needs_values(self) -> bool:
        return True

    def over_tokens(self, episodes: Sequence[Episode]) -> Sequence[TokenCredit]:
        return token_credit(
            episodes,
            gamma=self.gamma,
            lambda_actor=lambda tokens: self.lambda_actor,
            lambda_critic=self.lambda_critic,
            whiten=self.whiten,
        )


def token_credit(
    episodes: Sequence[Episode],
    *,
    gamma: float,
    lambda_actor: Callable[[int], float],
    lambda_critic: float,
    whiten: bool,
) -> list[TokenCredit]:
    """Advantages with a lambda that may depend on the tokens of an episode, returns with another.

    Raises:
        ValueError: an episode has no values, or not as many as rewards.
    """
    values: list[Sequence[float]] = []
    for episode in episodes:
        if episode.values_T is None:
            raise ValueError(
                "values_T=None: this estimator compares rewards with a critic's values; train with "
                "a critic, or take an estimator without one, such as ReinforcePp"
            )
        values.append(episode.values_T)
    rewards_N, lengths_R = joined([episode.rewards_T for episode in episodes])
    values_N, valued_R = joined(values)
    if np.any(other_R := valued_R != lengths_R):
        raise ValueError(
            f"{lengths_R[other_R][0]} rewards with {valued_R[other_R][0]} values in an episode: "
            "give each token one of each"
        )
    lams_R = np.array([lambda_actor(length) for length in lengths_R.tolist()], np.float64)
    batch = (rewards_N, values_N, lengths_R)
    advantages_N, returns_N = _estimates(*batch, gamma=gamma, lams_R=lams_R)
    if np.any(lams_R != lambda_critic):
        _, returns_N = _estimates(
            *batch, gamma=gamma, lams_R=np.full(len(lams_R), lambda_critic, np.float64)
        )
    if whiten:
        advantages_N = whitened_array(advantages_N)
    return [
        TokenCredit(advantages_T=advantages_T, returns_T=returns_T)
        for advantages_T, returns_T in zip(
            cut(advantages_N, lengths_R), cut(returns_N, lengths_R), strict=True
        )
    ]


def _estimates(
    rewards_N: Floats, values_N: Floats, lengths_R: Ints, *, gamma: float, lams_R: Floats
) -> tuple[Floats, Floats]:
    """Advantages and returns of each token of episodes of these lengths."""
    following_N = np.append(values_N[1:], 0.0)[: len(values_N)]
    following_N[np.cumsum(lengths_R)[lengths_R > 0] - 1] = 0.0
    deltas_N = rewards_N + gamma * following_N - values_N
    advantages_N = to_go(deltas_N, lengths_R, gamma * lams_R)
    return advantages_N, advantages_N + values_N


def check_shares(**shares: float) -> None:
    """Refuse discounts and lambdas that are not between 0 and 1."""
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(
                f"{name}={share}: says how much of what follows a token counts; take a number "
                "between 0 and 1"
            )
