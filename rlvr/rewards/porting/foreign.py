"""Rewards made of what other frameworks call: a function, or verifiers' rubric of functions."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from rlvr.rewards.porting.arguments import columns
from rlvr.rewards.porting.results import CORRECT_FROM, Log, verdict, verdicts
from rlvr.rewards.porting.styles import RewardSpecError, Style, recognise, required
from rlvr.types import Outcome, Problem, Verdict

_LOCAL = threading.local()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ported:
    """A function that is called by its convention. Coroutines are run to their end."""

    function: Callable[..., Any]
    style: Style
    name: str
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Objects that its framework would pass beside the convention's own, such as a parser."""

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return self.grade(problem, [text])[0]

    def grade(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """One verdict per text, in order.

        Raises:
            KeyError: it asks for a column that the problem does not have.
            TypeError, ValueError: its result is no reward.
            Exception: what the function itself raises.
        """
        if not self.style.batched:
            return [verdict(self.call(problem, [text], Log()), self.name) for text in texts]
        log = Log()
        found = verdicts(self.call(problem, texts, log), len(texts), self.name)
        return [with_parts(one, log.parts(index)) for index, one in enumerate(found)]

    def call(self, problem: Problem, texts: Sequence[str], log: Log) -> Any:
        """The function's own result."""
        parameters = inspect.signature(self.function).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        passed = self.style.arguments(problem, texts)
        if self.style.logs:
            passed |= {"log_extra": log.extra, "log_metric": log.metric}
        passed |= dict(self.given)
        missing = required(self.function) - set(passed)
        # What is required, not known here and not read: ``recognise`` has made sure of the last.
        passed |= dict.fromkeys(missing & self.style.unknown)
        if absent := sorted(missing - self.style.unknown):
            own = ", ".join(sorted(columns(problem)))
            raise KeyError(
                f"{self.name} asks for the column {', '.join(absent)}, and the problem has {own}; "
                "rename the parameter or keep the column in Problem.extra"
            )
        result = self.function(**{k: v for k, v in passed.items() if takes_all or k in parameters})
        return _loop().run(_wait(result)) if inspect.isawaitable(result) else result


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """verifiers' rubric: the sum of its functions' results, each times its weight.

    A function that fails, fails the rubric; each one's own result is a part of the verdict.
    """

    functions: tuple[Ported, ...]
    weights: tuple[float, ...]
    name: str

    @property
    def batched(self) -> bool:
        return any(function.style.batched for function in self.functions)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return self.grade(problem, [text])[0]

    def grade(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """One verdict per text, in order."""
        by_function = [function.grade(problem, texts) for function in self.functions]
        return [self._sum(row) for row in zip(*by_function, strict=True)]

    def _sum(self, row: Sequence[Verdict]) -> Verdict:
        for one in row:
            if one.reward is None:
                return one
        parts = {
            function.name: cast(float, one.reward)
            for function, one in zip(self.functions, row, strict=True)
        }
        reward = sum(w * part for w, part in zip(self.weights, parts.values(), strict=True))
        outcome = Outcome.CORRECT if reward >= CORRECT_FROM else Outcome.WRONG
        return Verdict(outcome=outcome, reward=reward, parts=parts, verifier=self.name)


def is_rubric(found: object) -> bool:
    """Whether it looks like verifiers' ``Rubric``: a list of functions and a list of weights."""
    return isinstance(getattr(found, "funcs", None), list) and hasattr(found, "weights")


def rubric(found: Any, name: str) -> Rubric:
    """What a rubric object says, as a reward.

    Raises:
        RewardSpecError: it has no function, or one that cannot be called here.
    """
    functions = cast(list[Callable[..., Any]], found.funcs)
    weights = [float(weight) for weight in found.weights or [1.0] * len(functions)]
    if not functions or len(weights) != len(functions):
        raise RewardSpecError(
            f"reward={name}: the rubric has {len(functions)} functions and {len(weights)} "
            "weights; give it at least one function, and a weight for each"
        )
    given = dict(getattr(found, "class_objects", None) or {})
    if getattr(found, "parser", None) is not None:
        given.setdefault("parser", found.parser)
    return Rubric(
        functions=tuple(_of_rubric(function, name, given) for function in functions),
        weights=tuple(weights),
        name=name,
    )


def _of_rubric(function: Callable[..., Any], name: str, given: Mapping[str, Any]) -> Ported:
    own = str(getattr(function, "__name__", type(function).__name__))
    parameters = set(inspect.signature(function).parameters)
    plural = parameters & {"prompts", "completions", "answers", "states", "infos", "tasks"}
    style = "verifiers-group" if plural else "verifiers"
    found = recognise(function, f"{name}.{own}", style, given=given)
    return Ported(function=function, style=found, name=own, given=given)


def with_parts(one: Verdict, parts: Mapping[str, float]) -> Verdict:
    """The verdict with further numbers to log."""
    return replace(one, parts={**parts, **one.parts}) if parts else one


def _loop() -> asyncio.Runner:
    """This thread's event loop: a client that a module keeps is bound to the loop it began in."""
    if not hasattr(_LOCAL, "runner"):
        _LOCAL.runner = asyncio.Runner()
    return cast(asyncio.Runner, _LOCAL.runner)


async def _wait(result: Awaitable[Any]) -> Any:
    return await result
