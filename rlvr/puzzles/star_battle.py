"""Star battle: one star in every row, column and region, none touching. The solution is unique."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.board import SIDES, Cell, connected, draw, near, read_cells

SIDE = (5, 6, 6, 7, 8)
LETTERS = "ABCDEFGH"
REPAIRS = 60
"""Cells that change their region before a layout is given up."""

RULES = """\
This {side}x{side} board is divided into {side} regions, each marked by a letter. Place {side}
stars so that every row, every column and every region has exactly one, and no two stars touch,
not even at a corner."""


def generate(rng: random.Random, level: int) -> Puzzle:
    side = of_level(SIDE, level)
    while True:
        stars = _stars(rng, side)
        regions = _grown(rng, stars)
        if _repaired(rng, regions, stars):
            break
    board = ["".join(LETTERS[regions[r, c]] for c in range(side)) for r in range(side)]
    answer = ["".join("*" if stars[r] == c else "." for c in range(side)) for r in range(side)]
    return Puzzle(
        prompt=prompt(
            RULES.format(side=side),
            draw(board),
            "Write the board with * for each star and . for every other cell.",
        ),
        answer=draw(answer),
        data={"regions": board},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    regions: Sequence[str] = data["regions"]
    side = len(regions)
    board = read_cells(answer, rows=side, columns=side, symbols="*.")
    if board is None or any(row.count("*") != 1 for row in board):
        return False
    stars = [row.index("*") for row in board]
    return (
        len(set(stars)) == side
        and len({regions[r][c] for r, c in enumerate(stars)}) == side
        and all(abs(a - b) > 1 for a, b in pairwise(stars))
    )


def _stars(rng: random.Random, side: int) -> list[int]:
    """The column of each row's star."""
    while True:
        stars = rng.sample(range(side), side)
        if all(abs(a - b) > 1 for a, b in pairwise(stars)):
            return stars


def _grown(rng: random.Random, stars: Sequence[int]) -> dict[Cell, int]:
    """A region around every star, grown a cell at a time."""
    side = len(stars)
    regions: dict[Cell, int] = {(r, c): r for r, c in enumerate(stars)}
    edge = list(regions)
    while edge:
        cell = edge[rng.randrange(len(edge))]
        free = [c for c in near(cell, SIDES, rows=side, columns=side) if c not in regions]
        if free:
            chosen = rng.choice(free)
            regions[chosen] = regions[cell]
            edge.append(chosen)
        else:
            edge.remove(cell)
    return regions


def _repaired(rng: random.Random, regions: dict[Cell, int], stars: list[int]) -> bool:
    """Move cells between regions until ``stars`` is the only solution; False if it never is.

    A star of another solution that joins a neighbouring region leaves its own without one.
    """
    side = len(stars)
    for _ in range(REPAIRS):
        other = next((found for found in _solutions(regions, side) if found != stars), None)
        if other is None:
            return True
        moves = [
            (cell, regions[step])
            for cell in enumerate(other)
            if stars[cell[0]] != cell[1]
            for step in near(cell, SIDES, rows=side, columns=side)
            if regions[step] != regions[cell]
        ]
        rng.shuffle(moves)
        move = next((move for move in moves if _leaves_whole(regions, move[0])), None)
        if move is None:
            return False
        regions[move[0]] = move[1]
    return False


def _leaves_whole(regions: Mapping[Cell, int], cell: Cell) -> bool:
    """Whether the rest of the cell's region is connected without it."""
    return connected([c for c in regions if regions[c] == regions[cell] and c != cell])


def _solutions(regions: Mapping[Cell, int], side: int) -> Iterator[list[int]]:
    stars: list[int] = []
    used: set[int] = set()

    def place(row: int) -> Iterator[list[int]]:
        if row == side:
            yield list(stars)
            return
        for column in range(side):
            region = regions[row, column]
            if region in used or column in stars or (stars and abs(stars[-1] - column) < 2):
                continue
            stars.append(column)
            used.add(region)
            yield from place(row + 1)
            stars.pop()
            used.remove(region)

    return place(0)
