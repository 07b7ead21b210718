"""Minesweeper without guessing: the numbers that are shown leave one way to place the mines."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.board import AROUND, Cell, cells, draw, near, read_cells
from rlvr.puzzles.search import Board, fillings, first_two

SIDE = (4, 5, 6, 7, 8)
MINES = (3, 5, 8, 11, 15)
HIDDEN = (4, 8, 14, 20, 28)
"""Safe cells that are hidden at most."""
NODES = 500
"""Values tried to show that a number can be hidden; where that is not enough, it is shown."""

RULES = """\
This {side}x{side} minesweeper board has {mines} mines. They lie under hidden cells (?). A number
says how many of the up to eight cells around it are mines; cells with a number are safe. Find
all the mines."""


def generate(rng: random.Random, level: int) -> Puzzle:
    side, count = of_level(SIDE, level), of_level(MINES, level)
    order = cells(side, side)
    mines = set(rng.sample(order, count))
    around = {cell: list(near(cell, AROUND, rows=side, columns=side)) for cell in order}
    shown = {c: sum(n in mines for n in around[c]) for c in order if c not in mines}
    safe = list(shown)
    rng.shuffle(safe)
    hidden = of_level(HIDDEN, level)
    for cell in safe:
        if not hidden:
            break
        number = shown.pop(cell)
        if _unique(shown, around, count):
            hidden -= 1
        else:
            shown[cell] = number
    board = ["".join(str(shown.get((r, c), "?")) for c in range(side)) for r in range(side)]
    answer = [
        "".join("*" if (r, c) in mines else str(shown.get((r, c), ".")) for c in range(side))
        for r in range(side)
    ]
    return Puzzle(
        prompt=prompt(
            RULES.format(side=side, mines=count),
            draw(board),
            "Write the board with * for each mine and . for every hidden cell that is safe.",
        ),
        answer=draw(answer),
        data={"board": board, "mines": count},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    board: Sequence[str] = data["board"]
    side = len(board)
    given = read_cells(answer, rows=side, columns=side, symbols="012345678.*")
    if given is None:
        return False
    mines = {(r, c) for r, c in cells(side, side) if given[r][c] == "*"}
    return len(mines) == data["mines"] and all(
        given[r][c] in ".*"
        if board[r][c] == "?"
        else given[r][c] == board[r][c]
        and int(board[r][c])
        == sum(cell in mines for cell in near((r, c), AROUND, rows=side, columns=side))
        for r, c in cells(side, side)
    )


def _unique(shown: Mapping[Cell, int], around: Mapping[Cell, Sequence[Cell]], mines: int) -> bool:
    """Whether the numbers and the count of mines leave one way to place them."""
    order = [cell for cell in sorted(around) if cell not in shown]
    known = first_two(
        fillings(
            {},
            order,
            lambda _: (True, False),
            partial(_fits, shown, around, mines, len(order)),
            nodes=NODES,
        )
    )
    return known is not None and len(known) == 1


def _fits(
    shown: Mapping[Cell, int],
    around: Mapping[Cell, Sequence[Cell]],
    mines: int,
    hidden: int,
    board: Board[bool],
    cell: Cell,
) -> bool:
    placed = sum(board.values())
    if not placed <= mines <= placed + hidden - len(board):
        return False
    for number in around[cell]:
        if number not in shown:
            continue
        known = open_ = 0
        for c in around[number]:
            if c not in shown:
                if c in board:
                    known += board[c]
                else:
                    open_ += 1
        if not known <= shown[number] <= known + open_:
            return False
    return True
