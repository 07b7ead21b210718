"""Campsite (Tents): a tent beside every tree, given how many each row and column has."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.board import AROUND, SIDES, Cell, cells, draw, near, read_cells

SIDE = (4, 5, 6, 8, 10)
TREES = (3, 5, 7, 12, 20)
"""At most; a board that is full sooner has fewer."""

RULES = """\
Put tents on this {side}x{side} campsite. T is a tree, . is free ground. The rules:
- There are as many tents as trees, and each tree has a tent of its own directly above, below,
  left or right of it: trees and tents can be paired off so that the two of each pair share a
  side.
- Tents stand on free ground, and no two tents touch, not even at a corner.
- The number after each row and below each column says how many tents it has."""


def generate(rng: random.Random, level: int) -> Puzzle:
    side, wanted = of_level(SIDE, level), of_level(TREES, level)
    tents, trees = _camp(rng, side, wanted)
    rows = [sum(r == row for r, _ in tents) for row in range(side)]
    columns = [sum(c == column for _, c in tents) for column in range(side)]
    ground = ["".join("T" if (r, c) in trees else "." for c in range(side)) for r in range(side)]
    shown = [[*line, count] for line, count in zip(ground, rows, strict=True)]
    answer = [
        "".join("A" if (r, c) in tents else mark for c, mark in enumerate(line))
        for r, line in enumerate(ground)
    ]
    return Puzzle(
        prompt=prompt(
            RULES.format(side=side),
            draw([*shown, columns]),
            "Write the board without the numbers, with A for each tent.",
        ),
        answer=draw(answer),
        data={"ground": ground, "rows": rows, "columns": columns},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    ground: Sequence[str] = data["ground"]
    side = len(ground)
    board = read_cells(answer, rows=side, columns=side, symbols="T.A")
    if board is None or any(
        (board[r][c] == "T") != (ground[r][c] == "T") for r, c in cells(side, side)
    ):
        return False
    tents = {(r, c) for r, c in cells(side, side) if board[r][c] == "A"}
    trees = [(r, c) for r, c in cells(side, side) if board[r][c] == "T"]
    return (
        len(tents) == len(trees)
        and [row.count("A") for row in board] == list(data["rows"])
        and [column.count("A") for column in zip(*board, strict=True)] == list(data["columns"])
        and not any(
            other in tents
            for tent in tents
            for other in near(tent, AROUND, rows=side, columns=side)
        )
        and _paired(trees, tents, side)
    )


def _camp(rng: random.Random, side: int, wanted: int) -> tuple[set[Cell], set[Cell]]:
    tents: set[Cell] = set()
    trees: set[Cell] = set()
    order = cells(side, side)
    rng.shuffle(order)
    for tent in order:
        if len(trees) == wanted:
            break
        if tent in trees or any(c in tents for c in near(tent, AROUND, rows=side, columns=side)):
            continue
        free = [
            c
            for c in near(tent, SIDES, rows=side, columns=side)
            if c not in trees and c not in tents
        ]
        if free:
            tents.add(tent)
            trees.add(rng.choice(free))
    return tents, trees


def _paired(trees: Sequence[Cell], tents: set[Cell], side: int) -> bool:
    """Whether every tree gets a tent of its own: a matching, by augmenting paths."""
    tree_of: dict[Cell, Cell] = {}

    def place(tree: Cell, tried: set[Cell]) -> bool:
        for tent in near(tree, SIDES, rows=side, columns=side):
            if tent not in tents or tent in tried:
                continue
            tried.add(tent)
            if tent not in tree_of or place(tree_of[tent], tried):
                tree_of[tent] = tree
                return True
        return False

    return all(place(tree, set()) for tree in trees)
