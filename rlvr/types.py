"""What travels through a run, in the order it travels.

    Problem -> Rollout -> RolloutGroup -> GradedGroup -> TrainSample -> TrainBatch

Each is frozen: a stage reads one and makes the next, so a value that exists is complete.
Nothing here imports more than the standard library, so every process can unpickle all of it.

Names of arrays end in what they are indexed by:
    P  problems in a step     G  rollouts of one problem     T  tokens of one sequence
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

WeightVersion = NewType("WeightVersion", int)
"""Optimizer steps taken: 0 for the weights that a run starts from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A prompt whose answer a rule can check."""

    id: str
    """Stable across runs and shuffles, such as ``gsm8k/train/1024``."""
    prompt: str | tuple[Message, ...]
    """Plain text goes to the model as it is; messages go through its chat template."""
    answer: str
    source: str = ""
    """Where it comes from; rewards may be routed, and metrics split, by it."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The row's other columns, for rewards that read them."""


class Finish(StrEnum):
    """Why an engine stopped generating."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One completion, with what the trainer must know about how it was sampled."""

    prompt_ids: tuple[int, ...]
    completion_ids_T: tuple[int, ...]
    logprobs_T: tuple[float, ...]
    """Of each completion token, under the weights and the temperature that sampled it (nats)."""
    versions_T: tuple[WeightVersion, ...]
    """Weights that produced each completion token."""
    text: str
    finish: Finish
    temperature: float = 1.0
    """At which it was sampled; the policy that trains on it is the one at that temperature."""

    def __post_init__(self) -> None:
        tokens = len(self.completion_ids_T)
        if not tokens:
            raise ValueError("a rollout has at least one completion token, got none")
        if len(self.logprobs_T) != tokens or len(self.versions_T) != tokens:
            raise ValueError(
                f"a rollout needs one logprob and one version per completion token, got "
                f"{len(self.logprobs_T)} and {len(self.versions_T)} for {tokens} tokens"
            )

    @property
    def version(self) -> WeightVersion:
        """The oldest weights that produced any of its tokens."""
        return min(self.versions_T)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutGroup:
    """Rollouts of one problem, not yet graded."""

    problem: Problem
    rollouts_G: tuple[Rollout, ...]


class Outcome(StrEnum):
    """What grading found. The first three are about the model, the others about the grader."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    GOLD_UNPARSED = "gold_unparsed"
    TIMEOUT = "timeout"
    ERROR = "error"
    ABSTAIN = "abstain"

    @property
    def is_graded(self) -> bool:
        """Whether it says something about the model, and so may train."""
        return self in GRADED


GRADED = frozenset({Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A reward and the reason for it, or the reason why there is none."""

    outcome: Outcome
    reward: float | None
    """None where the grader failed or abstained: such a rollout leaves its group's statistics."""
    extracted: str | None = None
    """The part of the text that was judged."""
    detail: str = ""
    """For people: why, where it is not plain from the outcome."""
    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    """Numbers that are logged apart."""
    verifier: str = ""
    """Name and version of what judged, such as ``math@1``."""

    def __post_init__(self) -> None:
        if self.outcome.is_graded != (self.reward is not None):
            raise ValueError(
                f"outcome={self.outcome} with reward={self.reward}: a graded outcome has a reward "
                "and a grader's failure has none (it must never turn into a 0 that trains)"
            )
        if self.reward is not None and not math.isfinite(self.reward):
            raise ValueError(
                f"reward={self.reward}: the mean of its group, and every advantage in it, would "
                "be none either; give a finite number, or None and what the grader's failure was"
            )


PrefixValues = tuple[tuple[int, float], ...]
"""For some prefixes of a rollout, ascending from 0 completion tokens: their tokens, and the mean
reward of what was continued, or forced to answer, from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedGroup:
    """The rollouts of one problem that were graded, each with its verdict.

    Those whose grader failed are left out of it and kept aside in ``ungraded``.
    """

    problem: Problem
    rollouts_G: tuple[Rollout, ...]
    verdicts_G: tuple[Verdict, ...]
    ungraded: tuple[Verdict, ...] = ()
    prefix_values_G: tuple[PrefixValues, ...] = ()
    """Of each rollout, where the credit needs them."""

    @classmethod
    def of_rewards(
        cls,
        rewards_G: Sequence[float | None],
        *,
        lengths_G: Sequence[int] | None = None,
        parts_G: Sequence[Mapping[str, float]] | None = None,
        prefix_values_G: Sequence[PrefixValues] | None = None,
    ) -> GradedGroup:
        """A made-up group with these rewards, to ask an estimator what it makes of them.

        Rewards are any numbers that ``float`` takes. One above 0 is correct; None is an abstention,
        whose rollout is left out. ``lengths_G`` are completion tokens (1 each by default),
        ``parts_G`` what the verdicts log apart, and ``prefix_values_G`` as in the group: each as
        many as rewards, None included.

        Raises:
            ValueError: a reward is not finite, or there are more or fewer of one than of another.
        """
        for name, given in (
            ("lengths_G", lengths_G),
            ("parts_G", parts_G),
            ("prefix_values_G", prefix_values_G),
        ):
            if given is not None and len(given) != len(rewards_G):
                raise ValueError(
                    f"{name}: {len(given)} for {len(rewards_G)} rewards; give one for each"
                )
        rewards = {i: float(reward) for i, reward in enumerate(rewards_G) if reward is not None}
        abstained = Verdict(outcome=Outcome.ABSTAIN, reward=None)
        return cls(
            problem=Problem(id="made-up", prompt="", answer=""),
            rollouts_G=tuple(_made_up(1 if lengths_G is None else lengths_G[i]) for i in rewards),
            verdicts_G=tuple(
                Verdict(
                    outcome=Outcome.CORRECT if reward > 0 else Outcome.WRONG,
                    reward=reward,
                    parts={} if parts_G is None else parts_G[i],
                )
                for i, reward in rewards.items()
            ),
            ungraded=(abstained,) * (len(rewards_G) - len(rewards)),
            prefix_values_G=tuple(prefix_values_G[i] for i in rewards) if prefix_values_G else (),
        )

    @property
    def rewards_G(self) -> tuple[float, ...]:
        return tuple(v.reward for v in self.verdicts_G if v.reward is not None)

    @property
    def mean_reward(self) -> float:
        """Mean reward; NaN for a group with nothing graded."""
        return sum(self.rewards_G) / len(self.rewards_G) if self.rewards_G else float("nan")

    @property
    def pass_rate(self) -> float:
        """Share that the verifier called correct; NaN for a group with nothing graded."""
        right = sum(v.outcome is Outcome.CORRECT for v in self.verdicts_G)
        return right / len(self.verdicts_G) if self.verdicts_G else float("nan")

    @property
    def version(self) -> WeightVersion:
        """The oldest weights that produced any of its tokens."""
        return min(rollout.version for rollout in self.rollouts_G)

    @property
    def tokens(self) -> int:
        """Completion tokens of its graded rollouts."""
        return sum(len(rollout.completion_ids_T) for rollout in self.rollouts_G)


def _made_up(length: int) -> Rollout:
    """One of so many completion tokens that says nothing else."""
    return Rollout(
        prompt_ids=(0,),
        completion_ids_T=(0,) * length,
        logprobs_T=(0.0,) * length,
        versions_T=(WeightVersion(0),) * length,
        text="",
        finish=Finish.STOP,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScores:
    """What the learner's models say of a rollout's completion tokens before a step's updates."""

    logprobs_T: Sequence[float] | None = None
    """Under the weights that the step starts from, the proximal policy (nats); None where those of
    the sampler stand for them."""
    reference_logprobs_T: Sequence[float] | None = None
    """Under the reference policy (nats)."""
    values_T: Sequence[float] | None = None
    """The critic's estimate of the return from each token on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSample:
    """A rollout with its credit; all that the learner needs, and nothing of how it came to be."""

    rollout: Rollout
    advantage: float
    """Of every token, unless ``token_advantages_T`` tells them apart."""
    token_advantages_T: Sequence[float] | None = None
    returns_T: Sequence[float] | None = None
    """What the critic should have said of each token."""
    scores: TokenScores | None = None
    """Where the objective, the credit or the critic needs them."""
    correct: bool = False
    """Whether the verifier called it correct, whatever its credit."""
    trains: bool = True
    """Whether its tokens do; they count in the loss's denominator all the same."""
    problem: int = 0
    """Which of the batch's problems it answers. Samples come problem by problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainBatch:
    """The samples of one optimizer step, and the weights that the step starts from."""

    samples: tuple[TrainSample, ...]
    version: WeightVersion

    @property
    def loss_tokens(self) -> int:
        """Completion tokens over all ranks and micro-batches."""
        return sum(len(sample.rollout.completion_ids_T) for sample in self.samples)
