"""Binario (Takuzu): a square of zeros and ones, given some of them. The solution is unique."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.board import Cell, cells, draw, read_cells
from rlvr.puzzles.search import Board, OutOfNodes, fillings

SIDE = (4, 6, 6, 8, 8)
EMPTY = (8, 18, 22, 36, 44)
"""Cells that are left out at most."""
NODES = 120
"""Values tried to show that a cell can be left out; where that is not enough, it stays."""

RULES = """\
Fill every empty cell (.) of this {side}x{side} board with 0 or 1 so that
- no three neighbouring cells of a row or a column are equal,
- every row and every column has as many zeros as ones,
- no two rows are equal, and no two columns are equal."""


def generate(rng: random.Random, level: int) -> Puzzle:
    side, empty = of_level(SIDE, level), of_level(EMPTY, level)
    solution = _solution(rng, side)
    board = dict(solution)
    order = cells(side, side)
    rng.shuffle(order)
    for cell in order:
        if side * side - len(board) == empty:
            break
        value = board.pop(cell)
        if not _forced(board, side, cell, value):
            board[cell] = value
    givens = ["".join(board.get((row, c), ".") for c in range(side)) for row in range(side)]
    answer = ["".join(solution[row, c] for c in range(side)) for row in range(side)]
    return Puzzle(
        prompt=prompt(RULES.format(side=side), draw(givens), "Write the whole filled board."),
        answer=draw(answer),
        data={"givens": givens},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    givens: Sequence[str] = data["givens"]
    side = len(givens)
    rows = read_cells(answer, rows=side, columns=side, symbols="01")
    if rows is None:
        return False
    columns = ["".join(column) for column in zip(*rows, strict=True)]
    return (
        all(
            g in (".", v)
            for given, row in zip(givens, rows, strict=True)
            for g, v in zip(given, row, strict=True)
        )
        and all(_line_fits(line, side) for line in (*rows, *columns))
        and len(set(rows)) == len(set(columns)) == side
    )


def _line_fits(line: str, side: int) -> bool:
    """Whether a line, with . where it is empty, breaks no rule of its own yet."""
    return (
        "000" not in line
        and "111" not in line
        and max(line.count("0"), line.count("1")) <= side // 2
    )


def _fits(side: int, board: Board[str], cell: Cell) -> bool:
    row = _row(board, side, cell[0])
    column = _column(board, side, cell[1])
    if not (_line_fits(row, side) and _line_fits(column, side)):
        return False
    if "." not in row and any(_row(board, side, r) == row for r in range(side) if r != cell[0]):
        return False
    return "." in column or all(
        _column(board, side, c) != column for c in range(side) if c != cell[1]
    )


def _row(board: Board[str], side: int, row: int) -> str:
    return "".join([board.get((row, column), ".") for column in range(side)])


def _column(board: Board[str], side: int, column: int) -> str:
    return "".join([board.get((row, column), ".") for row in range(side)])


def _solution(rng: random.Random, side: int) -> Board[str]:
    def values(_: Cell) -> tuple[str, str]:
        return ("0", "1") if rng.random() < 0.5 else ("1", "0")

    while True:
        # A search that starts badly is long; starting again is quick.
        try:
            found = fillings({}, cells(side, side), values, partial(_fits, side), nodes=400)
            return next(found)
        except OutOfNodes:
            continue


def _forced(board: Board[str], side: int, cell: Cell, value: str) -> bool:
    """Whether the cell can have no other value; the search goes outward from it."""
    other = {**board, cell: "1" if value == "0" else "0"}
    if not _fits(side, other, cell):
        return True
    order = sorted(
        (c for c in cells(side, side) if c not in other),
        key=lambda c: abs(c[0] - cell[0]) + abs(c[1] - cell[1]),
    )
    try:
        found = fillings(other, order, lambda _: ("0", "1"), partial(_fits, side), nodes=NODES)
        return next(found, None) is None
    except OutOfNodes:
        return False
