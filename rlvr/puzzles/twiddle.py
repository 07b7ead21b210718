"""Twiddle: turn blocks of four numbers until all stand where they should."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.board import draw, read_list

SIDE = (3, 3, 3, 4, 4)
TURNS = (1, 2, 3, 3, 5)
SLACK = 3
"""How many times as many turns a solution may take."""

RULES = """\
A turn takes a 2x2 block of this {side}x{side} board and rotates its four numbers by a quarter, R
(clockwise) or L (counterclockwise). A turn is written as the row and the column of the block's
top left cell, counted from 1, and the letter: 12R turns the block whose top left cell is in row
1, column 2. In at most {most} turns, bring the numbers into this order:

```
{goal}
```

The board now:"""


def generate(rng: random.Random, level: int) -> Puzzle:
    side, count = of_level(SIDE, level), of_level(TURNS, level)
    numbers = rng.sample(range(1, side * side + 1), side * side)
    goal = [numbers[i : i + side] for i in range(0, side * side, side)]
    board = [row[:] for row in goal]
    back: list[str] = []
    while len(back) < count or board == goal:
        row, column = rng.randrange(side - 1), rng.randrange(side - 1)
        way = rng.choice("RL")
        block = f"{row + 1}{column + 1}"
        if back and back[-1] == block + way:
            continue
        _turn(board, row, column, way)
        back.append(block + ("L" if way == "R" else "R"))
    most = SLACK * len(back)
    return Puzzle(
        prompt=prompt(
            RULES.format(side=side, goal=draw(goal), most=most),
            draw(board),
            "Write the turns in order, apart by spaces.",
        ),
        answer=" ".join(reversed(back)),
        data={"rows": board, "goal": goal, "most": most},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    board: list[list[int]] = [list(row) for row in data["rows"]]
    places = "123456789"[: len(board) - 1]
    turns = read_list(answer)
    if len(turns) > data["most"]:
        return False
    for turn in turns:
        if len(turn) != 3 or turn[0] not in places or turn[1] not in places or turn[2] not in "RL":
            return False
        _turn(board, int(turn[0]) - 1, int(turn[1]) - 1, turn[2])
    return board == [list(row) for row in data["goal"]]


def _turn(board: list[list[int]], row: int, column: int, way: str) -> None:
    ring = [(row, column), (row, column + 1), (row + 1, column + 1), (row + 1, column)]
    values = [board[r][c] for r, c in ring]
    moved = [*values[-1:], *values[:-1]] if way == "R" else [*values[1:], *values[:1]]
    for (r, c), value in zip(ring, moved, strict=True):
        board[r][c] = value
