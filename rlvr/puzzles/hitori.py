"""Hitori: shade cells until no number comes twice in a line."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.board import SIDES, Cell, cells, connected, draw, near, read_cells

SIDE = (4, 5, 6, 7, 8)
SHADED = 0.3
"""Share of the cells that are shaded at most; neighbours and connection leave fewer."""

RULES = """\
Shade some cells of this {side}x{side} board so that
- no number comes twice in any row or column among the cells that are not shaded,
- no two shaded cells share a side,
- all cells that are not shaded are connected with each other through their sides."""


def generate(rng: random.Random, level: int) -> Puzzle:
    side = of_level(SIDE, level)
    shaded = _shading(rng, side)
    board = _numbers(rng, side, shaded)
    answer = ["".join("#" if (r, c) in shaded else "." for c in range(side)) for r in range(side)]
    return Puzzle(
        prompt=prompt(
            RULES.format(side=side),
            draw(board),
            "Write the board with # for each shaded cell and . for every other cell.",
        ),
        answer=draw(answer),
        data={"numbers": board},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    numbers: Sequence[Sequence[int]] = data["numbers"]
    side = len(numbers)
    board = read_cells(answer, rows=side, columns=side, symbols="#.")
    if board is None:
        return False
    kept = [(r, c) for r, c in cells(side, side) if board[r][c] == "."]
    in_rows = {(r, numbers[r][c]) for r, c in kept}
    in_columns = {(c, numbers[r][c]) for r, c in kept}
    return (
        len(in_rows) == len(in_columns) == len(kept)
        and not any("##" in line for line in (*board, *map("".join, zip(*board, strict=True))))
        and connected(kept)
    )


def _shading(rng: random.Random, side: int) -> set[Cell]:
    shaded: set[Cell] = set()
    order = cells(side, side)
    rng.shuffle(order)
    kept = set(order)
    for cell in order:
        if len(shaded) >= SHADED * side * side:
            break
        beside = list(near(cell, SIDES, rows=side, columns=side))
        if not any(c in shaded for c in beside) and connected(kept - {cell}):
            shaded.add(cell)
            kept.remove(cell)
    return shaded


def _numbers(rng: random.Random, side: int, shaded: set[Cell]) -> list[list[int]]:
    """A Latin square in which every shaded number was replaced by one that its line shows."""
    rows, columns, names = (rng.sample(range(side), side) for _ in range(3))
    board = [[names[(r + c) % side] + 1 for c in columns] for r in rows]
    for row, column in sorted(shaded):
        shown = [board[row][c] for c in range(side) if (row, c) not in shaded]
        shown += [board[r][column] for r in range(side) if (r, column) not in shaded]
        board[row][column] = rng.choice(shown)
    return board
