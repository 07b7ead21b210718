"""Looks for the boards that fit, for so long and no longer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from rlvr.puzzles.board import Cell

V = TypeVar("V")
Board = dict[Cell, V]


class OutOfNodes(Exception):
    """The search has placed as many values as it was allowed to."""


def fillings(
    board: Board[V],
    order: Sequence[Cell],
    values: Callable[[Cell], Sequence[V]],
    fits: Callable[[Board[V], Cell], bool],
    *,
    nodes: int,
) -> Iterator[Board[V]]:
    """Every way to give the cells in ``order`` values so that each fits those before it.

    ``fits`` is asked of a board on which the cell has just been given its value.

    Raises:
        OutOfNodes: after ``nodes`` values were tried.
    """
    board = dict(board)
    left = nodes
    tries = [iter(values(order[0]))] if order else []
    if not order:
        yield dict(board)
    while tries:
        cell = order[len(tries) - 1]
        for value in tries[-1]:
            left -= 1
            if left < 0:
                raise OutOfNodes
            board[cell] = value
            if not fits(board, cell):
                continue
            if len(tries) == len(order):
                yield dict(board)
                continue
            tries.append(iter(values(order[len(tries)])))
            break
        else:
            board.pop(cell, None)
            tries.pop()


def first_two(found: Iterator[Board[V]]) -> list[Board[V]] | None:
    """At most two of the boards that were found; None where the search ran out before it knew."""
    try:
        return list(islice(found, 2))
    except OutOfNodes:
        return None
