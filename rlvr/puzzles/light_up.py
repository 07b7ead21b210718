"""Light up (Akari): bulbs that light every open cell and never each other."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.board import SIDES, Cell, cells, draw, near, read_cells

SIDE = (4, 5, 6, 7, 9)
WALLS = 0.22
"""Share of the cells."""
NUMBERED = (1.0, 1.0, 0.9, 0.8, 0.7)
"""Share of the walls that say how many bulbs are beside them."""

RULES = """\
Place light bulbs on the open cells (.) of this {side}x{side} board. # and the digits are walls.
- A bulb lights its own cell and all cells above, below, left and right of it up to the next
  wall.
- Every open cell is lit.
- No bulb is lit by another bulb.
- A digit says how many bulbs are directly above, below, left and right of that wall; a # wall
  may have any number."""


def generate(rng: random.Random, level: int) -> Puzzle:
    side = of_level(SIDE, level)
    order = cells(side, side)
    rng.shuffle(order)
    count = round(WALLS * side * side)
    walls, opens = set(order[:count]), order[count:]
    bulbs: set[Cell] = set()
    lit: set[Cell] = set()
    for cell in opens:
        if cell not in lit:
            bulbs.add(cell)
            lit |= {cell, *_beams(cell, walls, side)}
    board = [["."] * side for _ in range(side)]
    for r, c in sorted(walls):
        beside = sum(cell in bulbs for cell in near((r, c), SIDES, rows=side, columns=side))
        board[r][c] = str(beside) if rng.random() < of_level(NUMBERED, level) else "#"
    rows = ["".join(row) for row in board]
    answer = [
        "".join("*" if (r, c) in bulbs else rows[r][c] for c in range(side)) for r in range(side)
    ]
    return Puzzle(
        prompt=prompt(
            RULES.format(side=side), draw(rows), "Write the whole board with * for each bulb."
        ),
        answer=draw(answer),
        data={"board": rows},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    board: Sequence[str] = data["board"]
    side = len(board)
    given = read_cells(answer, rows=side, columns=side, symbols=".#*01234")
    if given is None:
        return False
    bulbs = {(r, c) for r, c in cells(side, side) if given[r][c] == "*"}
    if any(board[r][c] != ("." if (r, c) in bulbs else given[r][c]) for r, c in cells(side, side)):
        return False
    walls = {(r, c) for r, c in cells(side, side) if board[r][c] != "."}
    lit = {cell for bulb in bulbs for cell in _beams(bulb, walls, side)}
    return (
        not lit & bulbs
        and len(lit | bulbs | walls) == side * side
        and all(
            board[r][c] == "#"
            or int(board[r][c])
            == sum(cell in bulbs for cell in near((r, c), SIDES, rows=side, columns=side))
            for r, c in walls
        )
    )


def _beams(bulb: Cell, walls: Collection[Cell], side: int) -> Iterator[Cell]:
    """The other cells that a bulb lights."""
    for down, right in SIDES:
        row, column = bulb[0] + down, bulb[1] + right
        while 0 <= row < side and 0 <= column < side and (row, column) not in walls:
            yield row, column
            row, column = row + down, column + right
