"""Advantages from a critic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlvr.advantages.base import Episode, TokenCredit
from rlvr.advantages.whitening import whitened


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
    """
    if mask_T is None:
        mask_T = [True] * len(rewards_T)
    advantages: list[float] = []
    returns: list[float] = []
    next_value = next_advantage = 0.0
    tokens = reversed(list(zip(rewards_T, values_T, mask_T, strict=True)))
    for reward, value, chosen in tokens:
        if not chosen:
            advantages.append(0.0)
            returns.append(0.0)
            continue
        delta = reward + gamma * next_value - value
        next_advantage = delta + gamma * lam * next_advantage
        next_value = value
        advantages.append(next_advantage)
        returns.append(next_advantage + value)
    return advantages[::-1], returns[::-1]


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
        ValueError: an episode has no values.
    """
    advantages: list[list[float]] = []
    returns: list[list[float]] = []
    for episode in episodes:
        rewards_T, values_T = episode.rewards_T, episode.values_T
        if values_T is None:
            raise ValueError(
                "values_T=None: this estimator compares rewards with a critic's values; train with "
                "a critic, or take an estimator without one, such as ReinforcePp"
            )
        lam = lambda_actor(len(rewards_T))
        advantages_T, returns_T = gae(rewards_T, values_T, gamma=gamma, lam=lam)
        if lam != lambda_critic:
            _, returns_T = gae(rewards_T, values_T, gamma=gamma, lam=lambda_critic)
        advantages.append(advantages_T)
        returns.append(returns_T)
    if whiten:
        advantages = whitened(advantages)
    return [
        TokenCredit(advantages_T=advantages_T, returns_T=returns_T)
        for advantages_T, returns_T in zip(advantages, returns, strict=True)
    ]


def check_shares(**shares: float) -> None:
    """Refuse discounts and lambdas that are not between 0 and 1."""
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(
                f"{name}={share}: says how much of what follows a token counts; take a number "
                "between 0 and 1"
            )
