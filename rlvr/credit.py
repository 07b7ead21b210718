"""From graded groups to a batch that trains: scores of the learner's models, penalties, advantages.

Which of these a step takes follows from its parts: most estimators need the rewards alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Protocol

from rlvr.advantages.base import (
    Advantage,
    BatchAdvantage,
    Episode,
    PairSelection,
    Stateful,
    TokenAdvantage,
)
from rlvr.types import (
    Finish,
    GradedGroup,
    Outcome,
    Rollout,
    TokenScores,
    TrainBatch,
    TrainSample,
    WeightVersion,
)

Estimator = Advantage | BatchAdvantage | TokenAdvantage | PairSelection
Metrics = dict[str, float]


class Scorer(Protocol):
    async def score(
        self, rollouts: Sequence[Rollout], version: WeightVersion
    ) -> Sequence[TokenScores]: ...


class Penalty(Stateful, Protocol):
    """A price on tokens for what the learner's models say of them, such as a KL divergence."""

    coef: float

    def penalties(
        self, logprobs_T: Sequence[float], reference_logprobs_T: Sequence[float]
    ) -> Sequence[float]: ...

    def observe(self, kl: float, samples: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Credited:
    batch: TrainBatch
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Called once a step with its groups. A token keeps its rollout's advantage unless the
    estimator tells tokens apart."""

    estimator: Estimator
    scorer: Scorer | None = None
    """None where nothing needs scores; else it is asked before the step's first update."""
    penalty: Penalty | None = None
    """Taken off the reward, before advantages are made of it."""
    mask_truncated: bool = False
    """Rollouts that were cut for their length do not train."""

    def __post_init__(self) -> None:
        if self.penalty is not None and self.scorer is None:
            raise ValueError("a penalty on the reward needs scores, and scorer=None: give both")

    async def __call__(self, groups_P: Sequence[GradedGroup], version: WeightVersion) -> Credited:
        """
        Raises:
            ValueError: the estimator's credit does not fit the groups.
        """
        rollouts = [rollout for group in groups_P for rollout in group.rollouts_G]
        scores: Sequence[TokenScores | None] = [None] * len(rollouts)
        if self.scorer is not None:
            scores = await self.scorer.score(rollouts, version)
        metrics: Metrics = {}
        penalties: Sequence[Sequence[float]] | None = None
        if self.penalty is not None:
            penalties, metrics = _penalties(self.penalty, rollouts, scores)
        samples = list(_samples(groups_P, scores, mask_truncated=self.mask_truncated))
        samples = self._credited(groups_P, samples, penalties)
        metrics |= _describe(samples)
        return Credited(TrainBatch(version=version, samples=tuple(samples)), metrics)

    def _credited(
        self,
        groups_P: Sequence[GradedGroup],
        samples: list[TrainSample],
        penalties: Sequence[Sequence[float]] | None,
    ) -> list[TrainSample]:
        estimator = self.estimator
        if isinstance(estimator, TokenAdvantage):
            credits = estimator.over_tokens(list(_episodes(groups_P, samples, penalties)))
            return [
                replace(
                    sample,
                    advantage=sum(credit.advantages_T) / len(credit.advantages_T),
                    token_advantages_T=credit.advantages_T,
                    returns_T=credit.returns_T,
                )
                for sample, credit in zip(samples, credits, strict=True)
            ]
        if penalties is not None:
            groups_P = list(_penalised(groups_P, penalties))
        if isinstance(estimator, PairSelection):
            return list(_paired(groups_P, samples, estimator))
        if isinstance(estimator, BatchAdvantage):
            credit_PG = estimator.over_batch(groups_P)
        else:
            credit_PG = [estimator(group) for group in groups_P]
        return [
            replace(sample, advantage=credit)
            for sample, credit in zip(samples, chain.from_iterable(credit_PG), strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        parts = {"estimator": self.estimator, "penalty": self.penalty}
        return {n: part.state_dict() for n, part in parts.items() if isinstance(part, Stateful)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in (("estimator", self.estimator), ("penalty", self.penalty)):
            if name in state and isinstance(part, Stateful):
                part.load_state_dict(state[name])


def _samples(
    groups_P: Sequence[GradedGroup],
    scores: Sequence[TokenScores | None],
    *,
    mask_truncated: bool,
) -> Iterator[TrainSample]:
    """Without credit, group by group."""
    remaining = iter(scores)
    for problem, group in enumerate(groups_P):
        for rollout, verdict in zip(group.rollouts_G, group.verdicts_G, strict=True):
            yield TrainSample(
                rollout=rollout,
                advantage=0.0,
                scores=next(remaining),
                correct=verdict.outcome is Outcome.CORRECT,
                trains=not (mask_truncated and rollout.finish is Finish.LENGTH),
                problem=problem,
            )


def _penalties(
    penalty: Penalty, rollouts: Sequence[Rollout], scores: Sequence[TokenScores | None]
) -> tuple[list[Sequence[float]], Metrics]:
    """Of each sample's tokens; the penalty's controller then sees this step's divergence."""
    coef = penalty.coef
    penalties: list[Sequence[float]] = []
    for rollout, scored in zip(rollouts, scores, strict=True):
        if scored is None or scored.reference_logprobs_T is None:
            raise ValueError(
                "a KL penalty on the reward needs the log-probs of a reference policy, and the "
                "learner gave none: set learner.reference"
            )
        policy_T = rollout.logprobs_T if scored.logprobs_T is None else scored.logprobs_T
        penalties.append(penalty.penalties(policy_T, scored.reference_logprobs_T))
    metrics = {"actor/reward_kl_penalty_coeff": coef}
    if coef:
        means = [sum(penalties_T) / len(penalties_T) / coef for penalties_T in penalties]
        metrics["actor/reward_kl_penalty"] = sum(means) / len(means)
        penalty.observe(metrics["actor/reward_kl_penalty"], len(means))
    return penalties, metrics


def _penalised(
    groups_P: Sequence[GradedGroup], penalties: Sequence[Sequence[float]]
) -> Iterator[GradedGroup]:
    """The groups with the sum of its tokens' penalties taken off each reward."""
    remaining = iter(penalties)
    for group in groups_P:
        yield replace(
            group,
            verdicts_G=tuple(
                replace(verdict, reward=reward - sum(next(remaining)))
                for reward, verdict in zip(group.rewards_G, group.verdicts_G, strict=True)
            ),
        )


def _episodes(
    groups_P: Sequence[GradedGroup],
    samples: Sequence[TrainSample],
    penalties: Sequence[Sequence[float]] | None,
) -> Iterator[Episode]:
    rewards = chain.from_iterable(group.rewards_G for group in groups_P)
    prefixes = chain.from_iterable(
        group.prefix_values_G or [()] * len(group.rollouts_G) for group in groups_P
    )
    for index, (sample, reward, prefix_values) in enumerate(
        zip(samples, rewards, prefixes, strict=True)
    ):
        rewards_T = [0.0] * len(sample.rollout.completion_ids_T)
        if penalties is not None:
            rewards_T = [-penalty for penalty in penalties[index]]
        rewards_T[-1] += reward
        yield Episode(
            rewards_T=rewards_T,
            values_T=sample.scores and sample.scores.values_T,
            problem=sample.problem,
            prefix_values=prefix_values,
        )


def _paired(
    groups_P: Sequence[GradedGroup], samples: Sequence[TrainSample], selection: PairSelection
) -> Iterator[TrainSample]:
    """The better rollout of each pair, then the worse one."""
    first = 0
    for group in groups_P:
        for better, worse in selection.pairs(group):
            yield replace(samples[first + better], advantage=1.0)
            yield replace(samples[first + worse], advantage=-1.0)
        first += len(group.rollouts_G)


def _describe(samples: Sequence[TrainSample]) -> Metrics:
    """Advantages over tokens, under verl's names."""
    total, tokens, largest, smallest = 0.0, 0, float("-inf"), float("inf")
    for sample in samples:
        length = len(sample.rollout.completion_ids_T)
        advantages_T = sample.token_advantages_T
        if advantages_T is None:
            advantages_T = [sample.advantage]
        total += sum(advantages_T) * length / len(advantages_T)
        tokens += length
        largest = max(largest, *advantages_T)
        smallest = min(smallest, *advantages_T)
    if not samples:
        return {}
    return {
        "critic/advantages/mean": total / tokens,
        "critic/advantages/max": largest,
        "critic/advantages/min": smallest,
    }
