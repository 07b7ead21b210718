"""Grades a grid of numbers, such as the output of an ARC task."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from rlvr.rewards.answers.extract import Form
from rlvr.rewards.answers.marked import MarkedAnswer, judge, unfenced
from rlvr.rewards.json_io import parse_printed
from rlvr.types import Problem, Verdict

VERIFIER = "grid@1"

_ROW = re.compile(r"[0-9]+(?:[ \t,|]+[0-9]+)*")
_BETWEEN = re.compile(r"[ \t,|]+")

_Rows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid(MarkedAnswer):
    """Whether the marked grid equals the reference, cell by cell (ARC; Guru, arXiv:2506.14965).

    A grid is JSON rows of whole numbers, or a line of them per row. A grid of another shape has
    no cell right.
    """

    partial: bool = False
    """The share of right cells is the reward; it is logged in any case."""

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return judge(
            problem.answer,
            text,
            form=Form(self.form),
            verifier=VERIFIER,
            read=_read,
            share=_share,
            partial=self.partial,
            part="cells",
        )


def _share(gold: _Rows, answer: _Rows) -> float:
    if [len(row) for row in gold] != [len(row) for row in answer]:
        return 0.0
    pairs = [pair for rows in zip(gold, answer, strict=True) for pair in zip(*rows, strict=True)]
    return sum(wanted == given for wanted, given in pairs) / len(pairs)


def _read(text: str) -> _Rows | None:
    value = parse_printed(text)
    if isinstance(value, list):
        return _of_json(cast(list[object], value))
    lines = [line.strip(" \t|,") for line in unfenced(text).strip().splitlines()]
    if not lines or not all(_ROW.fullmatch(line) for line in lines):
        return None
    return tuple(tuple(_plain(cell) for cell in _BETWEEN.split(line)) for line in lines)


def _of_json(rows: list[object]) -> _Rows | None:
    read: list[tuple[str, ...]] = []
    for row in rows:
        cells = cast(list[object], row) if isinstance(row, list) else []
        if not cells or any(type(cell) is not int for cell in cells):  # True is an int as well
            return None
        read.append(tuple(str(cell) for cell in cells))
    return tuple(read) or None


def _plain(digits: str) -> str:
    return digits.lstrip("0") or "0"
