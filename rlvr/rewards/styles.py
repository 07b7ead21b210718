"""Calling conventions of reward functions, and what their results mean.

native     f(problem, text)                                            one result
verl       f(data_source, solution_str, ground_truth, extra_info)      one result
TRL        f(completions, prompts, **columns)                          a list of results
OpenRLHF   f(queries, prompts, labels)                                 a list of results
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import Any, cast

from rlvr.rewards.base import Reward
from rlvr.types import Outcome, Problem, Verdict

CORRECT_FROM = 1.0
"""A bare number from here on counts as a correct answer in pass rates; it trains as it is."""

Columns = Mapping[str, Any]


class RewardSpecError(ValueError):
    """A reward that cannot be loaded: what was named, the reason, and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One calling convention."""

    name: str
    signature: str
    marks: frozenset[str]
    """Parameters that tell it from the others."""
    arguments: Callable[[Problem, str], dict[str, Any]]
    takes_columns: bool
    """Its other parameters are columns of the problem."""
    returns_list: bool


def _native(problem: Problem, text: str) -> dict[str, Any]:
    return {"problem": problem, "text": text}


def _verl(problem: Problem, text: str) -> dict[str, Any]:
    return {
        "data_source": problem.source,
        "solution_str": text,
        "ground_truth": problem.answer,
        "extra_info": dict(problem.extra),
    }


def _trl(problem: Problem, text: str) -> dict[str, Any]:
    """A batch of one. A chat prompt makes the completion a chat too, as in TRL."""
    columns = {"answer": problem.answer, "source": problem.source, "id": problem.id}
    columns |= dict(problem.extra)
    prompt: Any = problem.prompt
    completion: Any = text
    if not isinstance(prompt, str):
        prompt = [{"role": turn.role, "content": turn.content} for turn in prompt]
        completion = [{"role": "assistant", "content": text}]
    return {name: [value] for name, value in columns.items()} | {
        "prompts": [prompt],
        "completions": [completion],
    }


def _openrlhf(problem: Problem, text: str) -> dict[str, Any]:
    prompt = problem.prompt
    plain = prompt if isinstance(prompt, str) else "\n".join(turn.content for turn in prompt)
    return {"queries": [plain + text], "prompts": [plain], "labels": [problem.answer]}


STYLES = (
    Style(
        name="native",
        signature="f(problem, text)",
        marks=frozenset({"problem", "text"}),
        arguments=_native,
        takes_columns=False,
        returns_list=False,
    ),
    Style(
        name="verl",
        signature="compute_score(data_source, solution_str, ground_truth, extra_info)",
        marks=frozenset({"solution_str", "ground_truth"}),
        arguments=_verl,
        takes_columns=False,
        returns_list=False,
    ),
    Style(
        name="TRL",
        signature="f(completions, **columns)",
        marks=frozenset({"completions"}),
        arguments=_trl,
        takes_columns=True,
        returns_list=True,
    ),
    Style(
        name="OpenRLHF",
        signature="reward_func(queries, prompts, labels)",
        marks=frozenset({"queries", "labels"}),
        arguments=_openrlhf,
        takes_columns=False,
        returns_list=True,
    ),
)


def recognise(function: Callable[..., Any], name: str) -> Style:
    """The convention that a function's parameters follow.

    Raises:
        RewardSpecError: none, or it asks for more than its convention passes.
    """
    parameters = inspect.signature(function).parameters
    style = next((style for style in STYLES if style.marks <= set(parameters)), None)
    if style is None:
        known = "; ".join(f"{style.name}: {style.signature}" for style in STYLES)
        raise RewardSpecError(
            f"reward={name}: its parameters ({', '.join(parameters)}) follow no known convention. "
            f"Name them as in one of these: {known}"
        )
    required = {
        parameter.name
        for parameter in parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    unknown = required - set(style.arguments(Problem(id="", prompt="", answer=""), ""))
    if unknown and not style.takes_columns:
        raise RewardSpecError(
            f"reward={name}: {style.name} passes no parameter {', '.join(sorted(unknown))}. Give "
            f"it a default or remove it; what is passed: {style.signature}"
        )
    return style


def adapt(function: Callable[..., Any], style: Style, name: str) -> Reward:
    """A reward that calls a function by its convention. Coroutines are run to their end."""
    parameters = inspect.signature(function).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    def reward(problem: Problem, text: str) -> Verdict:
        passed = style.arguments(problem, text)
        if style.takes_columns:
            _require_columns(parameters, passed, name)
        result = function(**{k: v for k, v in passed.items() if takes_all or k in parameters})
        if inspect.isawaitable(result):
            result = asyncio.run(_wait(result))
        return verdict(_only(result, name) if style.returns_list else result, name)

    return reward


def verdict(result: Any, name: str) -> Verdict:
    """What a reward function's result means: a verdict, a number, a bool, None for "does not
    apply", or verl's mapping with a ``score``, whose other numbers are logged.

    Raises:
        TypeError: it is none of these.
        ValueError: its number is not finite.
    """
    if isinstance(result, Verdict):
        if result.reward is not None:
            _finite(result.reward, name)
        return result
    if result is None:
        return Verdict(outcome=Outcome.ABSTAIN, reward=None, verifier=name)
    parts: dict[str, float] = {}
    correct: Any = None
    if isinstance(result, Mapping):
        numbers = cast(Mapping[str, Any], result)
        if "score" not in numbers:
            raise TypeError(
                f"{name} returned a mapping with the keys {', '.join(map(str, numbers))}; the "
                "reward is read from the key 'score'"
            )
        parts = {k: float(v) for k, v in numbers.items() if k != "score" and isinstance(v, Real)}
        correct, result = numbers.get("acc"), numbers["score"]
    reward = _finite(result, name)
    right = reward >= CORRECT_FROM if correct is None else bool(correct)
    return Verdict(
        outcome=Outcome.CORRECT if right else Outcome.WRONG,
        reward=reward,
        parts=parts,
        verifier=name,
    )


def _finite(result: Any, name: str) -> float:
    number = result.item() if hasattr(result, "item") else result
    if not isinstance(number, Real):
        raise TypeError(
            f"{name} returned {result!r:.100} of type {type(result).__name__}; return a number, a "
            "bool, a Verdict, or None where the reward does not apply"
        )
    if not isfinite(number):
        raise ValueError(f"{name} returned {number}; a reward is a finite number")
    return float(number)


def _only(result: Any, name: str) -> Any:
    """The single entry of a batched function's result."""
    if isinstance(result, Mapping):
        batch = cast(Mapping[str, Any], result)
        result = batch.get("rewards", batch.get("scores"))
    if hasattr(result, "tolist"):
        result = result.tolist()
    if not isinstance(result, Sequence) or isinstance(result, str):
        raise TypeError(
            f"{name} returned {result!r:.100}; a function of batches returns a list with one "
            "number per completion"
        )
    entries = cast(Sequence[Any], result)
    if len(entries) != 1:
        raise ValueError(
            f"{name} returned {len(entries)} rewards for 1 completion; return one per completion"
        )
    return entries[0]


def _require_columns(
    parameters: Mapping[str, inspect.Parameter], passed: Columns, name: str
) -> None:
    missing = [
        p.name
        for p in parameters.values()
        if p.default is p.empty
        and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        and p.name not in passed
    ]
    if missing:
        raise KeyError(
            f"{name} asks for the column {', '.join(missing)}, and the problem has "
            f"{', '.join(passed)}; rename the parameter or keep the column in Problem.extra"
        )


async def _wait(result: Awaitable[Any]) -> Any:
    return await result
