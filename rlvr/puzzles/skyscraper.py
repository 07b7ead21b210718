"""Skyscrapers: a Latin square of heights, given how many are seen from each side. The solution is
unique."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.board import Cell, cells, draw, read_cells
from rlvr.puzzles.search import Board, fillings, first_two

SIDE = (4, 4, 5, 5, 6)
GIVEN = (4, 0, 4, 0, 2)
"""Heights that are shown at least; more where the views alone leave a choice."""
NODES = 2000

RULES = """\
Fill this {side}x{side} board with building heights from 1 to {side} so that every row and every
column has each height exactly once. A number outside of the board says how many buildings are
seen from there along its row or column: a building is seen if all those before it are lower.
Heights that are given stay as they are; a . is empty."""


def generate(rng: random.Random, level: int) -> Puzzle:
    side = of_level(SIDE, level)
    square = _latin(rng, side)
    views = {
        "left": [_seen(row) for row in square],
        "right": [_seen(row[::-1]) for row in square],
        "top": [_seen(column) for column in zip(*square, strict=True)],
        "bottom": [_seen(column[::-1]) for column in zip(*square, strict=True)],
    }
    board = {(r, c): square[r][c] for r, c in rng.sample(cells(side, side), of_level(GIVEN, level))}
    _settle(rng, board, square, views)
    givens = ["".join(str(board.get((r, c), ".")) for c in range(side)) for r in range(side)]
    return Puzzle(
        prompt=prompt(
            RULES.format(side=side),
            _picture(givens, views),
            "Write the filled board without the numbers outside of it.",
        ),
        answer=draw(square),
        data={"givens": givens, **views},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    givens: Sequence[str] = data["givens"]
    side = len(givens)
    rows = read_cells(answer, rows=side, columns=side, symbols="123456789"[:side])
    if rows is None:
        return False
    columns = ["".join(column) for column in zip(*rows, strict=True)]
    return (
        all(givens[r][c] in (".", rows[r][c]) for r, c in cells(side, side))
        and all(len(set(line)) == side for line in (*rows, *columns))
        and [_seen(row) for row in rows] == list(data["left"])
        and [_seen(row[::-1]) for row in rows] == list(data["right"])
        and [_seen(column) for column in columns] == list(data["top"])
        and [_seen(column[::-1]) for column in columns] == list(data["bottom"])
    )


def _seen(line: Sequence[Any]) -> int:
    """How many stand higher than all before them."""
    count, highest = 0, None
    for height in line:
        if highest is None or height > highest:
            count, highest = count + 1, height
    return count


def _latin(rng: random.Random, side: int) -> list[list[int]]:
    rows, columns, names = (rng.sample(range(side), side) for _ in range(3))
    return [[names[(r + c) % side] + 1 for c in columns] for r in rows]


def _settle(
    rng: random.Random,
    board: Board[int],
    square: Sequence[Sequence[int]],
    views: Mapping[str, Sequence[int]],
) -> None:
    """Show heights until no other square fits, or none is left to show."""
    side = len(square)
    heights = range(1, side + 1)

    def fits(board: Board[int], cell: Cell) -> bool:
        return _fits(board, cell, views)

    while True:
        order = [cell for cell in cells(side, side) if cell not in board]
        found = fillings(board, order, lambda _: heights, fits, nodes=NODES)
        known = first_two(found)
        if known is not None and len(known) < 2:
            return
        hidden = order if known is None else [c for c in order if known[0][c] != known[1][c]]
        row, column = rng.choice(hidden)
        board[row, column] = square[row][column]


def _fits(board: Board[int], cell: Cell, views: Mapping[str, Sequence[int]]) -> bool:
    row, column = cell
    side = len(views["top"])
    across = [board.get((row, c)) for c in range(side)]
    down = [board.get((r, column)) for r in range(side)]
    return _line_fits(across, views["left"][row], views["right"][row]) and _line_fits(
        down, views["top"][column], views["bottom"][column]
    )


def _line_fits(line: Sequence[int | None], first: int, last: int) -> bool:
    """Whether ``first`` buildings of a line may still be seen from its start, ``last`` from its
    end."""
    built = [height for height in line if height is not None]
    if len(set(built)) != len(built):
        return False
    if len(built) == len(line):
        return _seen(built) == first and _seen(built[::-1]) == last
    if None in line:
        built = built[: line.index(None)]
    seen, highest = _seen(built), max(built, default=0)
    # All that are higher than the highest could be seen, and once the tallest stands, none.
    return seen <= first <= seen + len(line) - highest


def _picture(givens: Sequence[str], views: Mapping[str, Sequence[int]]) -> str:
    rows = [
        f"{left} | {' '.join(row)} | {right}"
        for left, row, right in zip(views["left"], givens, views["right"], strict=True)
    ]
    rule = "  +" + "-" * (2 * len(givens) + 1) + "+"
    top, bottom = ("    " + " ".join(map(str, views[side])) for side in ("top", "bottom"))
    return "\n".join([top, rule, *rows, rule, bottom])
