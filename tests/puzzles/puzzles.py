"""Puzzles to test with, and ways to spoil their solutions."""

import random
from collections.abc import Iterator
from functools import cache

from rlvr.puzzles.base import Puzzle
from rlvr.puzzles.tasks import TASKS


def made(name: str, level: int, seed: int = 0) -> Puzzle:
    return TASKS[name].generate(random.Random(f"{name}/{level}/{seed}"), level)


def solves(name: str, puzzle: Puzzle, answer: str) -> float | bool:
    return TASKS[name].verify(puzzle.data, answer)


def spoiled(name: str, puzzle: Puzzle) -> Iterator[str]:
    """Answers of the right shape, each with one thing wrong."""
    match name:
        case "tic_tac_toe":
            yield from _worse_moves(puzzle)
        case "stack_permutation":
            words = puzzle.answer.split()
            yield " ".join(words[:-1])
            yield " ".join(words[::-1])
            yield " ".join([*words[1:], words[0]])
        case "hamiltonian_path" | "hamiltonian_cycle" | "sliding_tiles" | "twiddle":
            words = puzzle.answer.split()
            yield " ".join(words[:-1])
            if name.startswith("hamiltonian"):
                yield " ".join([*words[:-1], words[0]])
            yield " ".join([*words, words[-1]])
        case _:
            yield from _changed_cells(name, puzzle)


def _changed_cells(name: str, puzzle: Puzzle) -> Iterator[str]:
    rows = [line.split() for line in puzzle.answer.splitlines()]
    symbols = sorted({cell for row in rows for cell in row})
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            if name == "hitori" and cell == ".":
                continue  # one more cell can often be shaded
            if name == "slant" and all(
                puzzle.data["clues"][r + i][c + j] == "." for i in (0, 1) for j in (0, 1)
            ):
                continue
            other = symbols[(symbols.index(cell) + 1) % len(symbols)]
            changed = [*rows[:r], [*row[:c], other, *row[c + 1 :]], *rows[r + 1 :]]
            yield "\n".join(" ".join(line) for line in changed)


def _worse_moves(puzzle: Puzzle) -> Iterator[str]:
    board: str = puzzle.data["board"]
    side = round(len(board) ** 0.5)
    values = move_values(board)
    for move, value in values.items():
        if value < max(values.values()):
            yield f"{move // side + 1} {move % side + 1}"
    taken = next(i for i, mark in enumerate(board) if mark != ".")
    yield f"{taken // side + 1} {taken % side + 1}"


@cache
def move_values(board: str) -> dict[int, int]:
    """What each move is worth, by plain search."""
    side = round(len(board) ** 0.5)
    player = "XO"[board.count("X") - board.count("O")]
    lines = [[side * r + c for c in range(side)] for r in range(side)]
    lines += [list(column) for column in zip(*lines, strict=True)]
    lines += [[line[i] for i, line in enumerate(lines[:side])]]
    lines += [[line[-1 - i] for i, line in enumerate(lines[:side])]]
    values: dict[int, int] = {}
    for move in (i for i, mark in enumerate(board) if mark == "."):
        after = board[:move] + player + board[move + 1 :]
        if any(all(after[i] == player for i in line) for line in lines):
            values[move] = 1
        elif "." not in after:
            values[move] = 0
        else:
            values[move] = -max(move_values(after).values())
    return values
