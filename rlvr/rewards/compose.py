"""Rewards made of rewards.

A part is any plug-in; a function of another framework is one too:
``{_target_: rlvr.rewards.porting.ported.load, spec: my_reward.py:score}``. The reward of each part
is logged under its name, and what a part logs itself as ``name/...``. Where a part fails or
abstains, so does the whole: there is no sum of an unknown number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import fsum, isfinite

from rlvr.rewards.base import OTHERS, Reward
from rlvr.rewards.parts import (
    check_parts,
    example_for_all,
    example_of,
    failure,
    key_of,
    key_of_all,
    logged,
    maximum_of,
    rewards_of,
    routes_of,
)
from rlvr.types import Outcome, Problem, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """The weighted sum of its parts' rewards."""

    rewards: Mapping[str, Reward]
    weights: Mapping[str, float]
    decides: str
    """Name of the reward whose outcome is the sum's, and so counts in pass rates."""

    def __post_init__(self) -> None:
        check_parts("rewards", self.rewards)
        if self.weights.keys() != self.rewards.keys():
            raise ValueError(
                f"weights of {sorted(self.weights)} for rewards {sorted(self.rewards)}: give each "
                "reward a weight, and no other"
            )
        for name, weight in self.weights.items():
            if not (isfinite(weight) and weight > 0):
                raise ValueError(
                    f"weights.{name}={weight}: a reward counts for something or is left out, and "
                    "what is to be avoided has a negative reward; take a finite number above 0"
                )
        if self.decides not in self.rewards:
            raise ValueError(
                f"decides={self.decides!r} is no reward; take one of {', '.join(self.rewards)}"
            )

    @property
    def maximum(self) -> float | None:
        """The weighted sum of the parts' maxima; None where one of them has none."""
        maxima = {name: maximum_of(part) for name, part in self.rewards.items()}
        known = {name: most for name, most in maxima.items() if most is not None}
        return self._weighted(known) if len(known) == len(maxima) else None

    @property
    def routes(self) -> Mapping[str, str]:
        """Those of the part that decides."""
        return routes_of(self.rewards[self.decides])

    def example(self, problem: Problem) -> str | None:
        """A text that all parts accept; None where they do not say how it looks."""
        return example_for_all(self.rewards[self.decides], self.rewards.values(), problem)

    def key(self, problem: Problem, text: str) -> str | None:
        """The keys of all parts; None where one of them has none."""
        return key_of_all(self.rewards, problem, text)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        verdicts = {name: part(problem, text) for name, part in self.rewards.items()}
        failed = failure("sum@1", verdicts)
        if failed is not None:
            return failed
        decided = verdicts[self.decides]
        return Verdict(
            outcome=decided.outcome,
            reward=self._weighted(rewards_of(verdicts)),
            extracted=decided.extracted,
            detail=decided.detail,
            parts=logged(verdicts),
            verifier="sum@1",
        )

    def _weighted(self, rewards: Mapping[str, float]) -> float:
        return fsum(self.weights[name] * reward for name, reward in rewards.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The reward of an answer, where the gate is ``correct``: without the form that was asked for
    there is no credit, as in CrossThink (arXiv:2504.13941)."""

    gate: Reward
    answer: Reward
    closed: float = 0.0
    """The reward where the gate is not correct. More than a wrong answer's would teach to leave
    the form."""

    def __post_init__(self) -> None:
        check_parts("a gate's", {"gate": self.gate, "answer": self.answer})
        most = maximum_of(self.answer)
        if not isfinite(self.closed) or (most is not None and self.closed >= most):
            raise ValueError(
                f"closed={self.closed}: a closed gate must earn less than a right answer "
                f"({most}), and a finite number"
            )

    @property
    def maximum(self) -> float | None:
        """That of the answer."""
        return maximum_of(self.answer)

    @property
    def routes(self) -> Mapping[str, str]:
        """Those of the answer."""
        return routes_of(self.answer)

    def example(self, problem: Problem) -> str | None:
        """A right answer that opens the gate; None where that is not said."""
        return example_for_all(self.answer, (self.gate,), problem)

    def key(self, problem: Problem, text: str) -> str | None:
        """The keys of both; None where one of them has none."""
        return key_of_all({"gate": self.gate, "answer": self.answer}, problem, text)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        verdicts = {"gate": self.gate(problem, text), "answer": self.answer(problem, text)}
        failed = failure("gate@1", verdicts)
        if failed is not None:
            return failed
        gate, answer = verdicts["gate"], verdicts["answer"]
        is_open = gate.outcome is Outcome.CORRECT
        outcome = answer.outcome
        if not is_open and outcome is Outcome.CORRECT:
            outcome = Outcome.WRONG
        return Verdict(
            outcome=outcome,
            reward=answer.reward if is_open else self.closed,
            extracted=answer.extracted,
            detail=answer.detail if is_open else f"gate closed: {gate.detail or gate.outcome}",
            parts=logged(verdicts),
            verifier="gate@1",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """Each problem is judged by the reward that its source is routed to."""

    rewards: Mapping[str, Reward]
    routes: Mapping[str, str] = field(default_factory=dict[str, str])
    """``Problem.source`` -> name of a reward."""
    default: str | None = None
    """Name of the reward of all other sources; None refuses them."""

    def __post_init__(self) -> None:
        check_parts("rewards", self.rewards)
        if not self.routes and self.default is None:
            raise ValueError("routes={} without a default leads nowhere; give one of the two")
        named = {f"routes.{source}": name for source, name in self.routes.items()}
        if self.default is not None:
            named["default"] = self.default
        if self.routes.get(OTHERS, self.default) != self.default:
            raise ValueError(
                f"routes.{OTHERS}={self.routes[OTHERS]!r}: name the reward of all other sources "
                "in default"
            )
        for place, name in named.items():
            if name not in self.rewards:
                raise ValueError(
                    f"{place}={name!r} is no reward; take one of {', '.join(self.rewards)}"
                )
        if self.default is not None:
            object.__setattr__(self, "routes", {**self.routes, OTHERS: self.default})

    @property
    def maximum(self) -> float | None:
        """The one that all rewards share; None where they differ or one has none."""
        maxima = {maximum_of(reward) for reward in self.rewards.values()}
        return maxima.pop() if len(maxima) == 1 else None

    def example(self, problem: Problem) -> str | None:
        """That of the reward that judges; None where it does not say.

        Raises:
            LookupError: the source has no route, and there is no default.
        """
        return example_of(self.rewards[self._route(problem)], problem)

    def key(self, problem: Problem, text: str) -> str | None:
        """The name and the key of the reward that judges; None where it has none."""
        name = self.routes.get(problem.source, self.default)
        key = None if name is None else key_of(self.rewards[name], problem, text)
        return None if key is None else json.dumps([name, key])

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The verdict of the reward that the problem's source is routed to.

        Raises:
            LookupError: the source has no route, and there is no default.
        """
        name = self._route(problem)
        verdict = self.rewards[name](problem, text)
        return replace(verdict, parts=logged({name: verdict}))

    def _route(self, problem: Problem) -> str:
        name = self.routes.get(problem.source, self.default)
        if name is None:
            raise LookupError(
                f"problem {problem.id!r} has source={problem.source!r}, and routes know only "
                f"{', '.join(map(repr, self.routes))}; add a route for it, or a default"
            )
        return name
