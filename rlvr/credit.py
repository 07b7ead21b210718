"""From graded groups to a batch that trains: scores of the learner's models, penalties, advantages.

Which of these a step takes follows from its parts: most estimators need the rewards alone.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Protocol

import numpy as np

from rlvr.advantages.base import (
    Advantage,
    BatchAdvantage,
    Episode,
    PairSelection,
    Stateful,
    TokenAdvantage,
    TokenCredit,
)
from rlvr.ragged import cut, joined, sums
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
Pair = tuple[int, int]
"""The better sample and the worse one."""


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
        """Other tasks go on meanwhile: the arithmetic has a thread of its own.

        Raises:
            ValueError: the estimator's credit does not fit the groups.
        """
        rollouts = [rollout for group in groups_P for rollout in group.rollouts_G]
        asked: Sequence[int] = range(len(rollouts))
        pairs: list[Pair] | None = None
        if isinstance(self.estimator, PairSelection) and self.penalty is None:
            # Most rollouts are in no pair, and scores are a forward pass of each model.
            pairs = list(_pairs(groups_P, self.estimator))
            asked = sorted({*chain.from_iterable(pairs)})
        scores: list[TokenScores | None] = [None] * len(rollouts)
        if self.scorer is not None and asked:
            answers = await self.scorer.score([rollouts[index] for index in asked], version)
            for index, answer in zip(asked, answers, strict=True):
                scores[index] = answer
        return await asyncio.to_thread(self._credited, groups_P, scores, pairs, version)

    def _credited(
        self,
        groups_P: Sequence[GradedGroup],
        scores: Sequence[TokenScores | None],
        pairs: list[Pair] | None,
        version: WeightVersion,
    ) -> Credited:
        metrics: Metrics = {}
        penalties: Sequence[Sequence[float]] | None = None
        if self.penalty is not None:
            rollouts = [rollout for group in groups_P for rollout in group.rollouts_G]
            penalties, metrics = _penalties(self.penalty, rollouts, scores)
        samples = list(_samples(groups_P, scores, mask_truncated=self.mask_truncated))
        samples = tuple(self._trained(groups_P, samples, penalties, pairs))
        return Credited(TrainBatch(version=version, samples=samples), metrics | _describe(samples))

    def _trained(
        self,
        groups_P: Sequence[GradedGroup],
        samples: Sequence[TrainSample],
        penalties: Sequence[Sequence[float]] | None,
        pairs: list[Pair] | None,
    ) -> Iterator[TrainSample]:
        """The samples with their credit; of an estimator that picks pairs, those it picked.

        A generator also because a StopIteration that an estimator lets out would be lost between
        threads, and the step wait for ever: from here it comes out as a RuntimeError.
        """
        estimator = self.estimator
        if isinstance(estimator, TokenAdvantage):
            credits = estimator.over_tokens(_episodes(groups_P, samples, penalties))
            yield from _told_apart(samples, credits)
            return
        if penalties is not None:
            groups_P = list(_penalised(groups_P, penalties))
        if isinstance(estimator, PairSelection):
            for better, worse in pairs if pairs is not None else _pairs(groups_P, estimator):
                yield replace(samples[better], advantage=1.0)
                yield replace(samples[worse], advantage=-1.0)
            return
        if isinstance(estimator, BatchAdvantage):
            credit_PG = estimator.over_batch(groups_P)
        else:
            credit_PG = [estimator(group) for group in groups_P]
        for sample, credit in zip(samples, chain.from_iterable(credit_PG), strict=True):
            yield replace(sample, advantage=credit)

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._stateful().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Raises:
            ValueError: it is the state of other parts.
        """
        parts = self._stateful()
        if state.keys() != parts.keys():
            raise ValueError(
                f"the checkpoint remembers {', '.join(state) or 'nothing'}, and this run has "
                f"{', '.join(parts) or 'nothing'} to go on: a part would start over or take "
                "another's numbers; resume with the saved advantage and reward_kl, or start anew "
                "with checkpoint.resume=never"
            )
        for name, part in parts.items():
            part.load_state_dict(state[name])

    def _stateful(self) -> dict[str, Stateful]:
        """By their place and class."""
        parts = {"advantage": self.estimator, "reward_kl": self.penalty}
        return {
            f"{place}:{type(part).__name__}": part
            for place, part in parts.items()
            if isinstance(part, Stateful)
        }


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
        numbers_N, lengths_B = joined(penalties)
        means_B = sums(numbers_N, lengths_B) / lengths_B / coef
        metrics["actor/reward_kl_penalty"] = float(means_B.mean())
        penalty.observe(metrics["actor/reward_kl_penalty"], len(penalties))
    return penalties, metrics


def _penalised(
    groups_P: Sequence[GradedGroup], penalties: Sequence[Sequence[float]]
) -> Iterator[GradedGroup]:
    """The groups with the sum of its tokens' penalties taken off each reward."""
    numbers_N, lengths_B = joined(penalties)
    remaining = iter(sums(numbers_N, lengths_B).tolist())
    for group in groups_P:
        yield replace(
            group,
            verdicts_G=tuple(
                replace(verdict, reward=reward - next(remaining))
                for reward, verdict in zip(group.rewards_G, group.verdicts_G, strict=True)
            ),
        )


def _episodes(
    groups_P: Sequence[GradedGroup],
    samples: Sequence[TrainSample],
    penalties: Sequence[Sequence[float]] | None,
) -> list[Episode]:
    rewards = list(chain.from_iterable(group.rewards_G for group in groups_P))
    prefixes = chain.from_iterable(
        group.prefix_values_G or [()] * len(group.rollouts_G) for group in groups_P
    )
    lengths_B = np.array([len(s.rollout.completion_ids_T) for s in samples], np.int64)
    rewards_N = np.zeros(lengths_B.sum()) if penalties is None else -joined(penalties)[0]
    rewards_N[np.cumsum(lengths_B) - 1] += rewards
    return [
        Episode(
            rewards_T=rewards_T,
            values_T=sample.scores and sample.scores.values_T,
            problem=sample.problem,
            prefix_values=prefix_values,
        )
        for sample, rewards_T, prefix_values in zip(
            samples, cut(rewards_N, lengths_B), prefixes, strict=True
        )
    ]


def _told_apart(
    samples: Sequence[TrainSample], credits: Sequence[TokenCredit]
) -> Iterator[TrainSample]:
    """With credit of each token, and its mean."""
    advantages_N, given_B = joined([credit.advantages_T for credit in credits])
    means = sums(advantages_N, given_B) / given_B
    rows = zip(samples, credits, cut(advantages_N, given_B), means.tolist(), strict=True)
    for sample, credit, advantages_T, mean in rows:
        tokens = len(sample.rollout.completion_ids_T)
        if len(advantages_T) != tokens:
            raise ValueError(
                f"credit for {len(advantages_T)} tokens of a completion of {tokens}: the estimator "
                "has to give each token one number"
            )
        yield replace(
            sample,
            advantage=mean,
            token_advantages_T=advantages_T,
            returns_T=None if credit.returns_T is None else array("d", credit.returns_T),
        )


def _pairs(groups_P: Sequence[GradedGroup], selection: PairSelection) -> Iterator[Pair]:
    """Of samples, as they lie in the batch."""
    first = 0
    for group in groups_P:
        for better, worse in selection.pairs(group):
            yield first + better, first + worse
        first += len(group.rollouts_G)


def _describe(samples: Sequence[TrainSample]) -> Metrics:
    """Advantages over tokens, under verl's names."""
    if not samples:
        return {}
    rows = [
        [sample.advantage] if sample.token_advantages_T is None else sample.token_advantages_T
        for sample in samples
    ]
    advantages_N, given_B = joined(rows)
    lengths_B = np.array([len(s.rollout.completion_ids_T) for s in samples])
    totals_B = sums(advantages_N, given_B) * lengths_B / given_B
    return {
        "critic/advantages/mean": float(totals_B.sum() / lengths_B.sum()),
        "critic/advantages/max": float(advantages_N.max()),
        "critic/advantages/min": float(advantages_N.min()),
    }
