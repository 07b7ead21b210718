"""Grades the table that solves a zebra puzzle."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple, cast

from rlvr.rewards.answers.extract import Form
from rlvr.rewards.answers.marked import MarkedAnswer, judge, spelled
from rlvr.rewards.json_io import parse_printed
from rlvr.types import Problem, Verdict

VERIFIER = "zebra@1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zebra(MarkedAnswer):
    """The share of right cells of a table (Guru, arXiv:2506.14965).

    A table is JSON: rows of cells, or ``{"header": [...], "rows": [[...], ...]}``. Where reference
    and answer both have a header, columns are paired by it, else by place. Missing and superfluous
    cells count as wrong.
    """

    index_column: bool = True
    """Whether the first column, which numbers the houses, counts; everyone has it right."""
    partial: bool = True
    """The share is the reward; else only a table without a mistake earns 1."""

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return judge(
            problem.answer,
            text,
            form=Form(self.form),
            verifier=VERIFIER,
            read=_read,
            share=self._share,
            partial=self.partial,
            part="cells",
        )

    def _share(self, gold: _Table, answer: _Table) -> float:
        skipped = 0 if self.index_column else 1
        rows = gold.rows
        given = answer.under(gold.header).rows
        cells = right = 0
        for wanted_row, given_row in zip_longest(rows, given, fillvalue=()):
            for wanted, cell in zip_longest(wanted_row[skipped:], given_row[skipped:]):
                cells += 1
                right += wanted == cell
        return right / cells if cells else 0.0


class _Table(NamedTuple):
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def under(self, header: tuple[str, ...]) -> _Table:
        """The same with its columns in the order of another header of the same names."""
        if len(set(header)) < len(header) or sorted(header) != sorted(self.header):
            return self
        if any(len(row) != len(header) for row in self.rows):
            return self
        order = {name: place for place, name in enumerate(self.header)}
        places = [order[name] for name in header]
        return _Table(header, tuple(tuple(row[place] for place in places) for row in self.rows))


def _read(text: str) -> _Table | None:
    value = parse_printed(text)
    header: object = []
    if isinstance(value, dict):
        table = cast(dict[str, object], value)
        header, value = table.get("header", []), table.get("rows")
    names = _cells(header)
    if names is None or not isinstance(value, list) or not value:
        return None
    rows = [_cells(row) for row in cast(list[object], value)]
    complete = tuple(row for row in rows if row)
    return _Table(names, complete) if len(complete) == len(rows) else None


def _cells(row: object) -> tuple[str, ...] | None:
    if not isinstance(row, list):
        return None
    cells = cast(list[object], row)
    if any(isinstance(cell, dict | list) for cell in cells):
        return None
    return tuple(spelled(str(cell)) for cell in cells)
