"""What the results of reward functions mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Real
from typing import Any, cast

from rlvr.types import Outcome, Verdict

CORRECT_FROM = 1.0
"""A bare number from here on counts as a correct answer in pass rates; it trains as it is."""


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
    correct: float | None = None
    extracted: Any = None
    if isinstance(result, Mapping):
        entries = cast(Mapping[str, Any], result)
        if "score" not in entries:
            raise TypeError(
                f"{name} returned a mapping with the keys {', '.join(map(str, entries))}; the "
                "reward is read from the key 'score'"
            )
        parts = {
            str(key): number
            for key, value in entries.items()
            if key != "score" and (number := _number(value)) is not None
        }
        correct, result, extracted = parts.get("acc"), entries["score"], entries.get("pred")
    reward = _finite(result, name)
    return Verdict(
        outcome=Outcome.CORRECT
        if (reward if correct is None else correct) >= CORRECT_FROM
        else Outcome.WRONG,
        reward=reward,
        extracted=str(extracted) if isinstance(extracted, str) else None,
        parts=parts,
        verifier=name,
    )


def verdicts(result: Any, count: int, name: str) -> list[Verdict]:
    """What the result of a function of batches means, one verdict per completion; an ``error``
    where one entry is no reward.

    OpenRLHF's mapping has the rewards that train (``rewards``), a 0-to-1 score that tells right
    from wrong (``scores``), and numbers to log (``extra_logs``).

    Raises:
        TypeError: it is no list.
        ValueError: it has another length than there are completions.
    """
    if not isinstance(result, Mapping):
        return [_one(entry, name) for entry in _entries(result, count, name)]
    batch = cast(Mapping[str, Any], result)
    scores = batch.get("scores")
    rewards = _entries(batch.get("rewards", scores), count, name)
    right = rewards if scores is None else _entries(scores, count, name)
    logs = cast(Mapping[str, Any], batch.get("extra_logs") or {})
    columns = {str(key): _column(value, count) for key, value in logs.items()}
    merged: list[Any] = []
    for index, reward in enumerate(rewards):
        logged = {key: values[index] for key, values in columns.items() if values}
        own = cast(Mapping[str, Any], reward) if isinstance(reward, Mapping) else {"score": reward}
        merged.append(reward if reward is None else {**logged, **own, "acc": right[index]})
    return [_one(entry, name) for entry in merged]


class Log:
    """TRL's ``log_extra`` and ``log_metric``: numbers that a function says beside its result."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = {}
        self._metrics: dict[str, float] = {}

    def extra(self, column: str, values: Sequence[Any]) -> None:
        """One value per completion; what is no number is left out."""
        self._columns[column] = list(values)

    def metric(self, name: str, value: float) -> None:
        """One number of the whole call."""
        self._metrics[name] = float(value)

    def parts(self, index: int) -> dict[str, float]:
        """What was said of a completion."""
        found = dict(self._metrics)
        for column, values in self._columns.items():
            number = _number(values[index]) if index < len(values) else None
            if number is not None:
                found[column] = number
        return found


def _one(result: Any, name: str) -> Verdict:
    try:
        return verdict(result, name)
    except (TypeError, ValueError) as e:
        # The entries beside it are good; the call was one, so it cannot be asked again alone.
        return Verdict(outcome=Outcome.ERROR, reward=None, detail=str(e), verifier=name)


def _entries(result: Any, count: int, name: str) -> list[Any]:
    """What a function of batches returned, one entry per completion."""
    if hasattr(result, "tolist"):
        result = result.tolist()
    if not isinstance(result, Sequence) or isinstance(result, str):
        raise TypeError(
            f"{name} returned {result!r:.100}; a function of batches returns a list with one "
            "number per completion"
        )
    entries = list(cast(Sequence[Any], result))
    if len(entries) != count:
        raise ValueError(
            f"{name} returned {len(entries)} rewards for {count} completion"
            f"{'' if count == 1 else 's'}; return one per completion"
        )
    return entries


def _column(value: Any, count: int) -> list[Any]:
    """A logged value per completion; empty where it has another length."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        values = cast(list[Any], value)
        return values if len(values) == count else []
    return [value] * count


def _number(value: Any) -> float | None:
    value = value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
    return float(value) if isinstance(value, Real) else None


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
