"""Several weak verifiers, weighted by how often each is right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rlvr.rewards.base import Reward
from rlvr.rewards.parts import check_parts, example_for_all, failure, key_of_all
from rlvr.types import Outcome, Problem, Verdict

VERIFIER = "ensemble@1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Voter:
    """A verifier, and how often it was right on answers whose truth was known."""

    reward: Reward
    accepts_right: float
    """Share of right answers that it calls correct, P(v=1|y=1)."""
    refuses_wrong: float
    """Share of wrong answers that it does not, P(v=0|y=0)."""

    def __post_init__(self) -> None:
        for name in ("accepts_right", "refuses_wrong"):
            share = getattr(self, name)
            if not 0.0 < share < 1.0:
                raise ValueError(
                    f"{name}={share}: a share of exactly 0 or 1 would outvote all others for "
                    "ever; measure it, and take a number between"
                )
        if self.accepts_right + self.refuses_wrong <= 1.0:
            raise ValueError(
                f"accepts_right={self.accepts_right}, refuses_wrong={self.refuses_wrong}: it "
                "knows no more than a coin (their sum must be above 1); leave it out"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class NaiveBayes:
    """The probability that an answer is right, given the votes of independent verifiers (Weaver,
    arXiv:2506.18203).

    A voter that abstains has no say; one that fails makes the whole fail. Each vote is logged.
    """

    voters: Mapping[str, Voter]
    prior: float
    """Share of right answers that is expected before any vote."""
    threshold: float = 0.5
    """Answers whose probability lies above are correct."""

    def __post_init__(self) -> None:
        check_parts("voters", {name: voter.reward for name, voter in self.voters.items()})
        for name in ("prior", "threshold"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(
                    f"{name}={getattr(self, name)}: a probability strictly between 0 and 1"
                )
        if self.maximum <= self.threshold:
            raise ValueError(
                f"threshold={self.threshold}: even if all voters accept an answer its probability "
                f"is {self.maximum:.4f}, so none would be correct; lower it, or add voters"
            )

    @property
    def maximum(self) -> float:
        """The probability where all accept the answer."""
        return posterior(((voter, True) for voter in self.voters.values()), prior=self.prior)

    def example(self, problem: Problem) -> str | None:
        """A text that all voters accept; None where they do not say how it looks."""
        rewards = [voter.reward for voter in self.voters.values()]
        return example_for_all(rewards[0], rewards, problem)

    def key(self, problem: Problem, text: str) -> str | None:
        """The keys of all voters; None where one of them has none."""
        rewards = {name: voter.reward for name, voter in self.voters.items()}
        return key_of_all(rewards, problem, text)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        verdicts = {name: voter.reward(problem, text) for name, voter in self.voters.items()}
        voting = {name: v for name, v in verdicts.items() if v.outcome is not Outcome.ABSTAIN}
        failed = failure(VERIFIER, voting if voting else verdicts)
        if failed is not None:
            return failed
        votes = {name: v.outcome is Outcome.CORRECT for name, v in voting.items()}
        right = posterior(
            ((self.voters[name], vote) for name, vote in votes.items()), prior=self.prior
        )
        extracted = next((v.extracted for v in voting.values() if v.extracted is not None), None)
        silent = all(v.outcome is Outcome.NO_ANSWER for v in voting.values())
        said = Outcome.NO_ANSWER if silent else Outcome.WRONG
        return Verdict(
            outcome=Outcome.CORRECT if right > self.threshold else said,
            reward=right,
            extracted=extracted,
            parts={name: float(vote) for name, vote in votes.items()},
            verifier=VERIFIER,
        )


def posterior(votes: Iterable[tuple[Voter, bool]], *, prior: float) -> float:
    """P(right | votes) by Bayes' rule, the votes independent given the truth."""
    log_odds = [math.log(prior) - math.log1p(-prior)]
    for voter, accepts in votes:
        if accepts:
            log_odds.append(math.log(voter.accepts_right) - math.log1p(-voter.refuses_wrong))
        else:
            log_odds.append(math.log1p(-voter.accepts_right) - math.log(voter.refuses_wrong))
    total = math.fsum(log_odds)
    return 1 / (1 + math.exp(-total)) if total > -700 else 0.0
