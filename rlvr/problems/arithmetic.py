r"""Made-up arithmetic with an exact answer, for runs that take minutes on a CPU.

A problem of level n chains n operations from left to right, such as ``4*3+5-9=`` at level 3. Every
value on the way is a whole number from 0 to 30, so a chain is n small facts for one who writes
them down in turn, and too much to see at a glance. A product only ever comes first, so that
reading from left to right is also the order of operations.

The three splits share no problem: a hash of the problem's text alone says which one it is in.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any, Literal, get_args

from rlvr.problems.stream import Shuffled
from rlvr.types import Problem

Split = Literal["warmup", "train", "held_out"]

LARGEST = 30
"""No value in any problem is larger; none is below 0."""
SHARE_OF_SPLIT: dict[Split, int] = {"warmup": 50, "train": 40, "held_out": 10}
"""Percent of all problems of a level."""
LEVELS = (2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 7, 10)
"""Most problems are short and a few are long, as lengths are wherever models reason."""
MAX_REJECTED = 5000
"""Draws in a row that bring nothing new, past which a level counts as used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation on the running value, such as ``12+5=17``."""

    value: int
    operator: str
    operand: int

    @property
    def result(self) -> int:
        match self.operator:
            case "+":
                return self.value + self.operand
            case "-":
                return self.value - self.operand
            case _:
                return self.value * self.operand

    def __str__(self) -> str:
        return f"{self.value}{self.operator}{self.operand}={self.result}"


@dataclass(frozen=True, slots=True)
class Chain:
    """Operations of which each takes the result of the one before."""

    steps: tuple[Step, ...]

    @property
    def prompt(self) -> str:
        terms = "".join(f"{step.operator}{step.operand}" for step in self.steps)
        return f"{self.steps[0].value}{terms}="

    @property
    def answer(self) -> str:
        return str(self.steps[-1].result)

    def hurried(self) -> str:
        """A right solution that gives the answer at once."""
        return rf"\boxed{{{self.answer}}}"

    def worked(self) -> str:
        """A right solution with a line for each operation."""
        return "\n".join([*map(str, self.steps), self.hurried()])


class Arithmetic:
    """A stream of problems of one split. A level that is named k times has k shares of them.

    The n-th problem of a split and level is always the same one, whatever ``size`` and ``seed``;
    the seed decides the order of the epochs.

    Raises:
        ValueError: an unknown split, no levels, or fewer problems in a level than asked for.
    """

    def __init__(
        self,
        split: Split,
        *,
        size: int = 4096,
        levels: Sequence[int] = LEVELS,
        seed: int = 0,
    ) -> None:
        if not levels or min(levels) < 1 or size < len(levels):
            raise ValueError(
                f"size={size}, levels={list(levels)}: give at least one level, each at least 1, "
                "and at least one problem for each"
            )
        shares: Counter[int] = Counter()
        for index, level in enumerate(levels):
            shares[level] += size // len(levels) + (index < size % len(levels))
        problems = [
            _problem(chain, id=f"arithmetic/{split}/{level}/{i:05d}", level=level)
            for level, share in shares.items()
            for i, chain in enumerate(islice(chains(split, level), share))
        ]
        if len(problems) < size:
            raise ValueError(
                f"size={size}: split {split!r} has only {len(problems)} problems at levels "
                f"{list(levels)} in these shares; ask for fewer or add higher levels"
            )
        self._stream = Shuffled(problems, seed=seed)

    def all(self) -> Sequence[Problem]:
        return self._stream.all()

    @property
    def epoch(self) -> int:
        """Of the problem that was drawn last, from 0."""
        return self._stream.epoch

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._stream)

    def state_dict(self) -> dict[str, Any]:
        return self._stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._stream.load_state_dict(state)


def chains(split: Split, level: int) -> Iterator[Chain]:
    """The chains of a split with ``level`` operations, no two alike, until they run out."""
    if split not in get_args(Split):
        raise ValueError(f"split={split!r}: there are {', '.join(get_args(Split))}")
    draw = random.Random(f"arithmetic/{split}/{level}")
    seen: set[str] = set()
    rejected = 0
    while rejected < MAX_REJECTED:
        chain = _draw_chain(draw, level)
        rejected += 1
        if chain.prompt not in seen and split_of(chain.prompt) == split:
            seen.add(chain.prompt)
            rejected = 0
            yield chain


def split_of(prompt: str) -> Split:
    """The one split that a problem is in, from its text alone."""
    place = int.from_bytes(sha256(prompt.encode()).digest()[:8]) % 100
    for split, share in SHARE_OF_SPLIT.items():
        if place < share:
            return split
        place -= share
    raise AssertionError(f"the shares {SHARE_OF_SPLIT} do not add up to 100")


def _draw_chain(draw: random.Random, level: int) -> Chain:
    value = draw.randint(1, LARGEST)
    steps: list[Step] = []
    for _ in range(level):
        operands = {
            "+": range(1, min(9, LARGEST - value) + 1),
            "-": range(1, min(9, value) + 1),
            "*": range(2, 0 if steps else min(9, LARGEST // value) + 1),
        }
        operator = draw.choice([name for name, allowed in operands.items() if allowed])
        step = Step(value=value, operator=operator, operand=draw.choice(operands[operator]))
        steps.append(step)
        value = step.result
    return Chain(tuple(steps))


def _problem(chain: Chain, *, id: str, level: int) -> Problem:
    return Problem(
        id=id,
        prompt=chain.prompt,
        answer=chain.answer,
        source=f"arithmetic/{level}",
        extra={"level": level},
    )
