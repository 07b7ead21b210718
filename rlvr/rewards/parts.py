"""What a reward made of rewards asks of its parts, and tells of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Protocol, cast

from rlvr.rewards.base import Reward
from rlvr.types import Outcome, Problem, Verdict

_MOST_TELLING = (Outcome.ERROR, Outcome.TIMEOUT, Outcome.GOLD_UNPARSED, Outcome.ABSTAIN)


class _Form(Reward, Protocol):
    def dress(self, text: str) -> str: ...


def check_parts(what: str, parts: object) -> None:
    """Refuse parts that are none, cannot be called, or whose names cannot be logged apart.

    Raises:
        ValueError: names the part, what is wrong, and the remedy.
    """
    if not isinstance(parts, Mapping) or not parts:
        raise ValueError(
            f"{what}={parts!r}: give at least one reward, each under a name of its own"
        )
    for name, part in cast(Mapping[str, object], parts).items():
        if not name or "/" in name:
            raise ValueError(
                f"{what}: the name {name!r} is logged before a '/'; take a name without one"
            )
        if not callable(part):
            raise ValueError(
                f"{what}: {name}={part!r} is no reward; write a node with _target_, such as "
                "{_target_: rlvr.rewards.math.Math}"
            )


def maximum_of(part: Reward) -> float | None:
    """The reward of a right answer; None where the part does not say."""
    return getattr(part, "maximum", None)


def routes_of(part: Reward) -> Mapping[str, str]:
    """Whereto a part routes each source; empty for one that judges all alike."""
    return getattr(part, "routes", {})


def example_of(part: Reward, problem: Problem) -> str | None:
    """A right answer as a part wants to see it; None where it does not say."""
    example = getattr(part, "example", None)
    return None if example is None else example(problem)


def key_of(part: Reward, problem: Problem, text: str) -> str | None:
    """What of a text the verdict of a part rests on; None where it does not say."""
    key = getattr(part, "key", None)
    return None if key is None else key(problem, text)


def key_of_all(parts: Mapping[str, Reward], problem: Problem, text: str) -> str | None:
    """What of a text the verdicts of all parts rest on; None where one does not say."""
    keys: list[str] = []
    for part in parts.values():
        key = key_of(part, problem, text)
        if key is None:
            return None
        keys.append(key)
    return json.dumps(keys)


def example_for_all(first: Reward, others: Collection[Reward], problem: Problem) -> str | None:
    """The first's example, dressed as the others want it; None where they do not say.

    What judges answers must agree on the example. What judges form alone has a method
    ``dress(text) -> str``, which lays any text out in that form; all must like the last dress.
    """
    text = example_of(first, problem)
    if text is None:
        return None
    forms = [cast(_Form, part) for part in others if hasattr(part, "dress")]
    if any(example_of(part, problem) != text for part in others if part not in (first, *forms)):
        return None
    for form in forms:
        text = form.dress(text)
    liked = all(form(problem, text).outcome is Outcome.CORRECT for form in forms)
    return text if liked else None


def failure(verifier: str, verdicts: Mapping[str, Verdict]) -> Verdict | None:
    """The verdict of the whole where a part gave no reward: its outcome and its reason."""
    failed = [(name, v) for name, v in verdicts.items() if v.reward is None]
    if not failed:
        return None
    name, verdict = min(failed, key=lambda item: _MOST_TELLING.index(item[1].outcome))
    return Verdict(
        outcome=verdict.outcome,
        reward=None,
        extracted=verdict.extracted,
        detail=f"{name}: {verdict.detail or verdict.outcome}",
        verifier=verdict.verifier or verifier,
    )


def rewards_of(verdicts: Mapping[str, Verdict]) -> dict[str, float]:
    """The rewards that were given, by name."""
    return {name: v.reward for name, v in verdicts.items() if v.reward is not None}


def logged(verdicts: Mapping[str, Verdict]) -> dict[str, float]:
    """Each part's reward under its name, and what it logs itself as ``name/...``."""
    numbers = rewards_of(verdicts)
    for name, verdict in verdicts.items():
        numbers |= {f"{name}/{part}": number for part, number in verdict.parts.items()}
    return numbers
