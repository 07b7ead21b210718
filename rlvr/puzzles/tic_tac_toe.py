"""Tic-tac-toe on 3x3 and 4x4: a move after which best play ends no worse than after any other."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from math import isqrt
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.board import draw, read_list, read_number

SIDE = (3, 3, 3, 4, 4)
EMPTY = (3, 4, 5, 5, 7)

RULES = """\
In this game of tic-tac-toe on a {side}x{side} board, a whole row, column or diagonal of {side}
equal marks wins. It is {player}'s turn; a . is empty. Name a best move: one that wins against
every reply if there is such a move, or else one that cannot lose."""


def generate(rng: random.Random, level: int) -> Puzzle:
    side, empty = of_level(SIDE, level), of_level(EMPTY, level)
    while True:
        board = _position(rng, side, empty)
        values = _values(board) if board else {}
        # Where every move is as good, there is nothing to find.
        if board and max(values.values()) > max(-1, min(values.values())):
            break
    move = rng.choice([i for i, value in values.items() if value == max(values.values())])
    return Puzzle(
        prompt=prompt(
            RULES.format(side=side, player=_to_move(board)),
            draw(board[i : i + side] for i in range(0, len(board), side)),
            f"Write the row and the column of the move, such as 1 {side} for the top right corner.",
        ),
        answer=f"{move // side + 1} {move % side + 1}",
        data={"board": board},
        kin=_upright(board),
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    board: str = data["board"]
    side = isqrt(len(board))
    words = [read_number(word) for word in read_list(answer)]
    if len(words) != 2:
        return False
    row, column = words
    if row is None or column is None or not (1 <= row <= side and 1 <= column <= side):
        return False
    move = side * (row - 1) + column - 1
    if board[move] != ".":
        return False
    values = _values(board)
    return values[move] == max(values.values())


def _position(rng: random.Random, side: int, empty: int) -> str:
    """A board after random moves; empty text where the game is over by then."""
    board = "." * side**2
    for _ in range(side**2 - empty):
        board = _played(board, rng.choice(_free(board)))
        if _won(board):
            return ""
    return board


def _values(board: str) -> dict[int, int]:
    """What each move is worth to the player to move."""
    return {move: -_value(_played(board, move)) for move in _free(board)}


@lru_cache(maxsize=1 << 16)
def _value(board: str) -> int:
    """1 where the player to move wins, 0 for a draw, -1 for a loss, by best play."""
    if _won(board):
        return -1
    return max((-_value(_played(board, move)) for move in _free(board)), default=0)


def _free(board: str) -> list[int]:
    return [i for i, mark in enumerate(board) if mark == "."]


def _to_move(board: str) -> str:
    return "X" if board.count("X") == board.count("O") else "O"


def _played(board: str, move: int) -> str:
    return board[:move] + _to_move(board) + board[move + 1 :]


def _won(board: str) -> bool:
    return any(
        board[line[0]] != "." and all(board[i] == board[line[0]] for i in line)
        for line in _lines(isqrt(len(board)))
    )


@cache
def _lines(side: int) -> Sequence[Sequence[int]]:
    return (
        *(range(side * r, side * r + side) for r in range(side)),
        *(range(c, side * side, side) for c in range(side)),
        range(0, side * side, side + 1),
        range(side - 1, side * side - 1, side - 1),
    )


def _upright(board: str) -> str:
    """The same for all turns and mirrors of a board."""
    side = isqrt(len(board))
    rows = [board[i : i + side] for i in range(0, len(board), side)]
    found: list[str] = []
    for _ in range(4):
        rows = ["".join(column) for column in zip(*rows[::-1], strict=True)]
        found += ["".join(rows), "".join(rows[::-1])]
    return min(found)
