"""The contract of a puzzle task: makes puzzles, and tells a solution by the rules alone."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

LEVELS = (1, 2, 3, 4, 5)
"""Every task has these; a higher one is larger, says less, or takes more steps."""
MAX_ANSWER = 4000
"""Characters; no puzzle has a solution this long, so a longer answer is not looked into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Puzzle:
    """A question with at least one solution."""

    prompt: str
    answer: str
    """One solution, as the prompt asks for it; there may be others."""
    data: Mapping[str, Any]
    """What the rules need to judge a solution; JSON has a type for each value."""
    kin: str = ""
    """The same for puzzles that differ by a turn or a mirror; empty where none are few enough to
    meet again."""


class Task(Protocol):
    """One kind of puzzle: a module with two functions."""

    def generate(self, rng: random.Random, level: int) -> Puzzle:
        """A puzzle that follows from the generator's state and the level alone.

        Raises:
            ValueError: there is no such level.
        """
        ...

    def verify(self, data: Mapping[str, Any], answer: str) -> float | bool:
        """The share of the puzzle that an answer solves: True where it keeps every rule.

        Total: any text gets a number, in time linear in the text, and none is executed.
        """
        ...


def of_level(values: Sequence[T], level: int) -> T:
    """The level's own value.

    Raises:
        ValueError: there is no such level.
    """
    if level not in LEVELS:
        raise ValueError(f"level={level}: puzzles have the levels 1 to {LEVELS[-1]}; name one")
    return values[level - 1]


def prompt(rules: str, board: str, ask: str) -> str:
    """The text of a puzzle: the rules, the board in a fenced block, and how to answer."""
    where = "Think first, then end with your answer in a fenced code block (between lines of ```)."
    return f"{rules}\n\n```\n{board}\n```\n\n{where} {ask}"
