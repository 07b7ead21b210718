"""Magic square: complete it so that all rows, columns and diagonals have one sum."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.board import cells, draw, read_numbers

SIDE = (3, 3, 4, 4, 5)
EMPTY = (4, 6, 7, 10, 14)

RULES = """\
Complete this {side}x{side} magic square: replace every . by a number so that each of the numbers
{numbers}
stands on the board exactly once, and every row, every column and both diagonals have the same
sum. The numbers that are given stay where they are."""


def generate(rng: random.Random, level: int) -> Puzzle:
    side, empty = of_level(SIDE, level), of_level(EMPTY, level)
    first, step = rng.randint(1, 20), rng.randint(1, 5)
    square = [[first + step * value for value in row] for row in _square(rng, side)]
    hidden = set(rng.sample(cells(side, side), empty))
    givens = [
        [None if (r, c) in hidden else value for c, value in enumerate(row)]
        for r, row in enumerate(square)
    ]
    numbers = sorted(value for row in square for value in row)
    return Puzzle(
        prompt=prompt(
            RULES.format(side=side, numbers=", ".join(map(str, numbers))),
            draw([["." if value is None else value for value in row] for row in givens]),
            "Write the whole square, numbers apart by spaces.",
        ),
        answer=draw(square),
        data={"givens": givens, "numbers": numbers},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    givens: Sequence[Sequence[int | None]] = data["givens"]
    side = len(givens)
    square = read_numbers(answer, rows=side, columns=side)
    if square is None:
        return False
    if any(givens[r][c] not in (None, square[r][c]) for r, c in cells(side, side)):
        return False
    if sorted(value for row in square for value in row) != list(data["numbers"]):
        return False
    sums = {sum(row) for row in square} | {sum(column) for column in zip(*square, strict=True)}
    sums |= {sum(square[i][i] for i in range(side)), sum(square[i][-1 - i] for i in range(side))}
    return len(sums) == 1


def _square(rng: random.Random, side: int) -> list[list[int]]:
    """A magic square of 0 to side^2 - 1, from a known one by what keeps it magic."""
    if side % 2:
        square = [
            [
                side * ((r + c - side // 2) % side) + (r + 2 * c - side + 1) % side
                for c in range(side)
            ]
            for r in range(side)
        ]
    else:
        square = [
            [
                value if (r % 4 in (0, 3)) == (c % 4 in (0, 3)) else side * side - 1 - value
                for c in range(side)
                for value in [side * r + c]
            ]
            for r in range(side)
        ]
    # Rows and columns move alike and in mirrored pairs, so a diagonal keeps its cells.
    pairs = list(range(side // 2))
    rng.shuffle(pairs)
    pairs = [i if rng.random() < 0.5 else side - 1 - i for i in pairs]
    order = [*pairs, *([side // 2] if side % 2 else []), *(side - 1 - i for i in reversed(pairs))]
    square = [[square[r][c] for c in order] for r in order]
    if rng.random() < 0.5:
        square = [list(column) for column in zip(*square, strict=True)]
    if rng.random() < 0.5:
        square.reverse()
    return square
