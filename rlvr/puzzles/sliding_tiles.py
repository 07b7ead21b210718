"""Sliding tiles (8-puzzle and 15-puzzle): slide them into a given order."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.board import SIDES, draw, near, read_list, read_number

SIDE = (3, 3, 3, 4, 4)
MOVES = (4, 8, 14, 16, 24)
"""Slides away from the goal; no slide takes back the one before it."""
SLACK = 2
"""How many times as many slides a solution may take."""

RULES = """\
On this {side}x{side} board of sliding tiles, 0 is the empty cell. A tile directly above, below,
left or right of the empty cell can slide into it. Bring the board into this order in at most
{most} slides:

```
{goal}
```

The board now:"""


def generate(rng: random.Random, level: int) -> Puzzle:
    side, moves = of_level(SIDE, level), of_level(MOVES, level)
    goal = rng.sample(range(side * side), side * side)
    tiles = list(goal)
    undo: list[int] = []
    while len(undo) < moves or tiles == goal:
        tile = rng.choice([t for t in _movable(tiles, side) if not undo or t != undo[-1]])
        _slide(tiles, tile)
        undo.append(tile)
    rows, goal_rows = (
        [order[i : i + side] for i in range(0, side * side, side)] for order in (tiles, goal)
    )
    most = SLACK * len(undo)
    return Puzzle(
        prompt=prompt(
            RULES.format(side=side, most=most, goal=draw(goal_rows)),
            draw(rows),
            "Write the numbers of the tiles in the order in which they slide, apart by spaces.",
        ),
        answer=" ".join(map(str, reversed(undo))),
        data={"rows": rows, "goal": goal_rows, "most": most},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    side = len(data["rows"])
    tiles: list[int] = [tile for row in data["rows"] for tile in row]
    slides = read_list(answer)
    if not 0 < len(slides) <= data["most"]:
        return False
    for slide in slides:
        tile = read_number(slide)
        if tile not in _movable(tiles, side):
            return False
        _slide(tiles, tile)
    return tiles == [tile for row in data["goal"] for tile in row]


def _movable(tiles: list[int], side: int) -> list[int]:
    row, column = divmod(tiles.index(0), side)
    return [tiles[r * side + c] for r, c in near((row, column), SIDES, rows=side, columns=side)]


def _slide(tiles: list[int], tile: int) -> None:
    here, empty = tiles.index(tile), tiles.index(0)
    tiles[here], tiles[empty] = 0, tile
