"""Boards and lists as text, and what is near what on them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from rlvr.puzzles.base import MAX_ANSWER

Cell = tuple[int, int]
"""Row and column, from 0."""

SIDES: tuple[Cell, ...] = ((-1, 0), (0, -1), (0, 1), (1, 0))
AROUND: tuple[Cell, ...] = (*SIDES, (-1, -1), (-1, 1), (1, -1), (1, 1))

_NUMBER = re.compile(r"[0-9]{1,4}")


def draw(rows: Iterable[Iterable[object]]) -> str:
    """A line per row, cells apart by a space."""
    return "\n".join(" ".join(map(str, row)) for row in rows)


def read_cells(text: str, *, rows: int, columns: int, symbols: Collection[str]) -> list[str] | None:
    """The board's rows, one character a cell, spaces left out; None where it has another shape or
    other symbols."""
    lines = _lines(text)
    if len(lines) != rows:
        return None
    board = ["".join(line.split()) for line in lines]
    fits = all(len(row) == columns and all(cell in symbols for cell in row) for row in board)
    return board if fits else None


def read_numbers(text: str, *, rows: int, columns: int) -> list[list[int]] | None:
    """The board's rows of plain numbers apart by spaces; None where it has another shape."""
    lines = _lines(text)
    if len(lines) != rows:
        return None
    words = [line.split() for line in lines]
    if any(len(row) != columns or not all(map(_NUMBER.fullmatch, row)) for row in words):
        return None
    return [[int(word) for word in row] for row in words]


def read_list(text: str) -> list[str]:
    """The words of a short answer, apart by spaces, commas or arrows; empty where it is too long
    to be one."""
    if len(text) > MAX_ANSWER:
        return []
    return text.replace("->", " ").replace(",", " ").split()


def read_number(word: str) -> int | None:
    """The number from 0 to 9999 that a word is; None where it is none."""
    return int(word) if _NUMBER.fullmatch(word) else None


def cells(rows: int, columns: int) -> list[Cell]:
    return [(row, column) for row in range(rows) for column in range(columns)]


def near(cell: Cell, steps: Sequence[Cell], *, rows: int, columns: int) -> Iterator[Cell]:
    """The cells of the board that are one of ``steps`` away."""
    for down, right in steps:
        row, column = cell[0] + down, cell[1] + right
        if 0 <= row < rows and 0 <= column < columns:
            yield row, column


def connected(some: Collection[Cell]) -> bool:
    """Whether sides alone lead from any cell to any other."""
    left = set(some)
    edge = [left.pop()] if left else []
    while edge:
        row, column = edge.pop()
        for down, right in SIDES:
            if (step := (row + down, column + right)) in left:
                left.remove(step)
                edge.append(step)
    return not left


def _lines(text: str) -> list[str]:
    if len(text) > MAX_ANSWER:
        return []
    return [line for line in text.splitlines() if line.strip()]
