"""Slant (Gokigen): a diagonal in every cell, without loops, given how many meet at some corners."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.board import Cell, cells, draw, read_cells

SIDE = (3, 4, 5, 6, 7)
SHOWN = (0.9, 0.8, 0.7, 0.65, 0.6)
"""Share of the corners that have a number."""

RULES = """\
Draw one diagonal, / or \\, in every cell of a {side}x{side} board. The picture shows the corners
of the cells, {corners} in each of {corners} rows, not the cells themselves. A number says how
many diagonals end at that corner; a . may have any number. The diagonals must not form a closed
loop anywhere."""


def generate(rng: random.Random, level: int) -> Puzzle:
    side = of_level(SIDE, level)
    rows = _drawn(rng, side)
    counts = _counts(rows)
    clues = [
        "".join(
            str(counts[r, c]) if rng.random() < of_level(SHOWN, level) else "."
            for c in range(side + 1)
        )
        for r in range(side + 1)
    ]
    return Puzzle(
        prompt=prompt(
            RULES.format(side=side, corners=side + 1),
            draw(clues),
            f"Write the {side} rows of {side} diagonals.",
        ),
        answer=draw(rows),
        data={"clues": clues},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    clues: Sequence[str] = data["clues"]
    side = len(clues) - 1
    rows = read_cells(answer, rows=side, columns=side, symbols="/\\")
    if rows is None:
        return False
    counts = _counts(rows)
    corners = Corners()
    return all(
        clues[r][c] in (".", str(counts[r, c])) for r, c in cells(side + 1, side + 1)
    ) and all(corners.join(*_ends(cell, rows[cell[0]][cell[1]])) for cell in cells(side, side))


class Corners:
    """Which corners the diagonals have joined (union-find with path halving)."""

    def __init__(self) -> None:
        self._parent: dict[Cell, Cell] = {}

    def join(self, one: Cell, other: Cell) -> bool:
        """Join two corners; False where they were joined already."""
        a, b = self._root(one), self._root(other)
        self._parent[a] = b
        return a != b

    def joined(self, one: Cell, other: Cell) -> bool:
        return self._root(one) == self._root(other)

    def _root(self, corner: Cell) -> Cell:
        while (above := self._parent.setdefault(corner, corner)) != corner:
            self._parent[corner] = self._parent[above]
            corner = above
        return corner


def _drawn(rng: random.Random, side: int) -> list[str]:
    corners = Corners()
    board = [[""] * side for _ in range(side)]
    order = cells(side, side)
    rng.shuffle(order)
    for row, column in order:
        diagonal = rng.choice("/\\")
        # Were the other two corners joined as well, their path would cross the first one's.
        if corners.joined(*_ends((row, column), diagonal)):
            diagonal = "/" if diagonal == "\\" else "\\"
        corners.join(*_ends((row, column), diagonal))
        board[row][column] = diagonal
    return ["".join(row) for row in board]


def _ends(cell: Cell, diagonal: str) -> tuple[Cell, Cell]:
    row, column = cell
    if diagonal == "/":
        return (row, column + 1), (row + 1, column)
    return (row, column), (row + 1, column + 1)


def _counts(rows: Sequence[Iterable[str]]) -> dict[Cell, int]:
    """How many diagonals end at each corner."""
    counts = dict.fromkeys(cells(len(rows) + 1, len(rows) + 1), 0)
    for r, row in enumerate(rows):
        for c, diagonal in enumerate(row):
            for corner in _ends((r, c), diagonal):
                counts[corner] += 1
    return counts
