"""The datasets of reasoning-gym, less those whose scorers cannot be trusted with a model's text.

Some of its scorers hand the answer to ``eval`` or to sympy's parser, which executes it. Where the
rule is short, it stands here and takes the scorer's place; the others are refused.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol, cast

from rlvr.puzzles.arithmetic import evaluated

MAX_ANSWER = 20_000
"""Characters; a longer answer scores 0 without a further look."""

ENTRIES = 20_000
"""Of a dataset whose settings name no ``size``. Most are made one by one when asked for, but a few
datasets make all of them at once."""

_EXECUTES = "its scorer gives the model's answer to sympy's parser, which executes it"
REFUSED: Mapping[str, str] = {
    "boxnet": "its scorer fails on answers of another shape",
    "complex_arithmetic": "its scorer gives full marks to nan",
    "composite": "it hides which scorer judges; name its datasets one by one",
    "game_of_life_halting": "its scorer gives full marks to any text",
    "intermediate_integration": _EXECUTES,
    "polynomial_multiplication": _EXECUTES,
    "propositional_logic": "its scorer takes minutes on deeply nested answers",
    "simple_integration": _EXECUTES,
}
"""Dataset -> why its scorer is not used."""

UNREADABLE: Mapping[str, tuple[type[Exception], ...]] = {
    "coin_flip": (OverflowError,),
    "game_of_life": (KeyError,),
    "prime_factorization": (ValueError,),
}
"""What a dataset's scorer raises on an answer that it cannot read. Anything else that a scorer
raises is a failure of the scorer and no verdict on the answer."""

_EXPONENT = re.compile(r"[eE][-+]?[0-9]{5}")

Entry = Mapping[str, Any]


class Dataset(Protocol):
    """What is used of a dataset of reasoning-gym."""

    def __getitem__(self, index: int) -> dict[str, Any]: ...
    def score_answer(self, answer: str, entry: Entry) -> float: ...


def dataset(name: str, config: Mapping[str, Any]) -> Dataset:
    """The dataset of that name; entry n is the same in every process.

    Raises:
        ValueError: it is refused or unknown, or it refuses its settings.
        ModuleNotFoundError: reasoning-gym is not installed; says how to install it.
    """
    return _dataset(name, json.dumps(dict(config), sort_keys=True))


def score(name: str, config: Mapping[str, Any], entry: Entry, answer: str) -> float:
    """How much of an entry an answer solves, from 0 to 1.

    Raises:
        ValueError: as ``dataset`` does.
        Exception: what the dataset's own scorer raised, ``UNREADABLE`` aside.
    """
    # A scorer looks at the entry alone, and some datasets make all of theirs at the start.
    made = dataset(name, {**config, "size": 1})
    # Fraction("1e99999999") would take minutes and all memory.
    if not answer.strip() or len(answer) > MAX_ANSWER or _EXPONENT.search(answer):
        return 0.0
    if name in RULES:
        return float(RULES[name](entry, answer.strip()))
    try:
        return min(1.0, max(0.0, float(made.score_answer(answer, entry))))
    except UNREADABLE.get(name, ()):
        return 0.0


@cache
def _dataset(name: str, config: str) -> Dataset:
    factory = library()
    names: Sequence[str] = sorted(factory.DATASETS.keys() - REFUSED.keys())
    if name in REFUSED:
        refused = "; ".join(f"{other}: {why}" for other, why in REFUSED.items())
        raise ValueError(
            f"dataset {name!r} of reasoning-gym: {REFUSED[name]}; take another. Refused are "
            f"{refused}"
        )
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"dataset {name!r}: {hint}reasoning-gym has {', '.join(names)}")
    settings = {"seed": 0, "size": ENTRIES, **json.loads(config)}
    try:
        return cast(Dataset, factory.create_dataset(name, **settings))
    except (TypeError, AssertionError, ValueError) as error:
        raise ValueError(f"dataset {name!r} refuses the settings {config}: {error}") from error


@cache
def library() -> Any:
    """reasoning-gym's factory of datasets, imported when first asked for.

    Raises:
        ModuleNotFoundError: reasoning-gym is not installed; says how to install it.
    """
    # Optional, and a second of imports that other puzzles do without.
    try:
        from reasoning_gym import factory  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"reasoning-gym cannot be imported ({error}); install it: "
            "pip install 'rlvr[puzzles]' or pip install reasoning-gym==0.1.25"
        ) from error
    return factory


def _same_text(entry: Entry, answer: str) -> bool:
    return answer == entry["answer"].strip()


def _same_rows(entry: Entry, answer: str) -> bool:
    return _words(answer) == _words(entry["answer"])


def _is_queens(entry: Entry, answer: str) -> bool:
    return _words(answer) in [_words(valid) for valid in entry["metadata"]["valid_answers"]]


def _words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def _makes(target: Callable[[Entry], int]) -> Callable[[Entry, str], bool]:
    def rule(entry: Entry, answer: str) -> bool:
        read = evaluated(answer)
        if read is None:
            return False
        value, numbers = read
        return value == target(entry) and sorted(numbers) == sorted(entry["metadata"]["numbers"])

    return rule


RULES: Mapping[str, Callable[[Entry, str], bool]] = {
    "binary_matrix": _same_rows,
    "countdown": _makes(lambda entry: entry["metadata"]["target"]),
    "n_queens": _is_queens,
    "puzzle24": _makes(lambda _: 24),
    "spiral_matrix": _same_rows,
    "string_insertion": _same_text,
}
"""Dataset -> the rule that takes its scorer's place, for those that execute the answer."""
