"""Problems out of a table, whose layout is told from its columns."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, cast

from rlvr.problems.layouts import FIRST, Layout, LayoutError, cell, last_box, recognise
from rlvr.problems.stream import Shuffled
from rlvr.problems.table import BadRow, DatasetError, Row, kind, read_rows, suffix
from rlvr.types import Message, Problem

_SHOWN = 5


class Dataset(Shuffled):
    """One problem per row, named ``<source>/<split>/<row>`` unless a column names it.

    Which columns hold the prompt and the reference is told by their names (``layouts``) where
    ``prompt`` and ``answer`` do not say so; ``layout`` says what was told.

    Args:
        path: a .jsonl, .json (a list of objects) or .parquet file, or a dataset's name on the Hub.
        name: the Hub dataset's configuration.
        split: the Hub dataset's split; for a file only a part of the problems' ids.
        prompt: column with a text, or with a list of ``{role, content}``. Dots reach into it.
        answer: column with the reference answer. Dots reach into it.
        gold_after: the reference is what follows the last of these in the answer column.
        id: column with the problems' ids; it must then differ from row to row.
        limit: problems at most, from the first row on.
        seed: of the order in which they are trained on.
        source: what rewards and metrics know the problems by; by default what the layout has for
            it, such as verl's ``data_source``, or else the path's last part.
        bad_rows: ``refuse`` the dataset, or ``drop`` them and say so in ``dropped``.

    Raises:
        DatasetError: no such dataset, columns of no known layout, rows that make no problem, or
            no problem at all.
    """

    dropped: tuple[str, ...]
    """Place and reason of each row that was left out."""
    layout: str
    """The layout that was told from the columns, and the columns that it reads."""

    def __init__(
        self,
        path: str,
        name: str | None = None,
        split: str = "train",
        prompt: str | None = None,
        answer: str | None = None,
        gold_after: str | None = None,
        id: str | None = None,
        limit: int | None = None,
        seed: int = 0,
        source: str | None = None,
        bad_rows: Literal["refuse", "drop"] = "refuse",
    ) -> None:
        if bad_rows not in ("refuse", "drop"):
            raise DatasetError(f"bad_rows={bad_rows!r} is neither refuse nor drop: set it to one")
        if limit is not None and limit < 1:
            raise DatasetError(f"limit={limit} leaves no problem: use at least 1, or null for all")
        rows = read_rows(path, name, split)
        first = list(_until_readable(rows))
        layout = _layout([row for _, row in first], path, prompt, answer)
        layout = layout if gold_after is None else replace(layout, gold_after=gold_after)
        default = Path(path).name.removesuffix(suffix(path))
        problems: dict[str, Problem] = {}
        dropped: list[str] = []
        for number, (place, row) in enumerate(chain(first, rows)):
            try:
                known_by = source or _source(row, layout) or default
                problem = _problem(row, layout, f"{known_by}/{split}/{number}", known_by, id)
                if problem.id in problems:
                    raise BadRow(f"id {problem.id!r} is already taken by a row before it")
                problems[problem.id] = problem
            except BadRow as reason:
                dropped.append(f"{place}: {reason}")
            if len(problems) == limit:
                break
        self.dropped = tuple(dropped)
        self.layout = str(layout)
        if dropped and (bad_rows == "refuse" or not problems):
            raise DatasetError(_refusal(path, dropped, all_bad=not problems))
        if not problems:
            raise DatasetError(f"{path}: it has no row; give a path or split that has some")
        read = tuple(problems.values())
        super().__init__(read if id else _by_index(read, layout, split), seed=seed)


def _until_readable(
    rows: Iterator[tuple[str, Row | BadRow]],
) -> Iterator[tuple[str, Row | BadRow]]:
    """Rows up to the last of those that the layout is told from."""
    readable = 0
    for place, row in rows:
        yield place, row
        readable += not isinstance(row, BadRow)
        if readable == FIRST:
            return


def _layout(
    rows: Sequence[Row | BadRow], path: str, prompt: str | None, answer: str | None
) -> Layout:
    readable = [row for row in rows if not isinstance(row, BadRow)]
    if not readable:  # what is wrong with the rows says more than what they are not
        return Layout(name="none", prompt=prompt or "", answer=answer or "")
    try:
        return recognise(readable, path, prompt=prompt, answer=answer)
    except LayoutError as error:
        raise DatasetError(str(error)) from error


def _source(row: Row | BadRow, layout: Layout) -> str:
    """What the row says that it comes from; empty where it does not say."""
    if layout.source is None or isinstance(row, BadRow):
        return ""
    value: Any = row.get(layout.source)
    if isinstance(value, list):
        names = cast(list[Any], value)
        value = names[0] if len(names) == 1 else None
    return value if isinstance(value, str) else ""


def _problem(
    row: Row | BadRow, layout: Layout, number: str, source: str, id: str | None
) -> Problem:
    if isinstance(row, BadRow):
        raise row
    raw = _cell(row, layout.answer)
    prompt = _prompt(_cell(row, layout.prompt), layout.prompt)
    answer = _answer(raw, layout)
    if layout.replied and not isinstance(prompt, str):
        prompt = _unanswered(prompt, layout.prompt)
    used = {layout.prompt, id}
    if raw == answer and layout.answer == "answer":
        used.add(layout.answer)  # else it stays readable as it was, for rewards that want it so
    return Problem(
        id=number if id is None else str(_cell(row, id)),
        prompt=prompt,
        answer=answer,
        source=source,
        extra={key: value for key, value in row.items() if key not in used},
    )


def _by_index(problems: tuple[Problem, ...], layout: Layout, split: str) -> tuple[Problem, ...]:
    """The problems under the numbers that the data set gives them, where no two are the same."""
    renamed: list[Problem] = []
    for problem in problems:
        index = _inside(problem, layout.index)
        if index is None:
            return problems
        own = _inside(problem, layout.split) or split
        renamed.append(replace(problem, id=f"{problem.source}/{own}/{index}"))
    return tuple(renamed) if len({p.id for p in renamed}) == len(problems) else problems


def _inside(problem: Problem, column: str | None) -> Any:
    """What a problem's row holds there; None where it holds nothing."""
    try:
        return None if column is None else cell(problem.extra, column)
    except KeyError:
        return None


def _cell(row: Row, column: str) -> Any:
    try:
        return cell(row, column)
    except KeyError:
        near = difflib.get_close_matches(column, list(row), n=1, cutoff=0.5)
        raise BadRow(
            f"no column {column!r}; it has {', '.join(sorted(row)) or 'none'}"
            + (f"; did you mean {near[0]!r}?" if near else "")
        ) from None


def _prompt(cell: Any, column: str) -> str | tuple[Message, ...]:
    if cell is None or cell == [] or (isinstance(cell, str) and not cell.strip()):
        raise BadRow(f"{column} is empty")
    if isinstance(cell, str):
        return cell
    if isinstance(cell, list):
        return tuple(_message(turn, column) for turn in cast(list[object], cell))
    raise BadRow(f"{column} is {kind(cell)}, not a text or a list of messages")


def _message(turn: object, column: str) -> Message:
    fields = cast(dict[str, object], turn) if isinstance(turn, dict) else {}
    role, content = fields.get("role"), fields.get("content")
    if not isinstance(role, str) or not isinstance(content, str):
        raise BadRow(f"{column} has a message without the texts role and content: {turn!r:.80}")
    return Message(role=role, content=content)


def _unanswered(chat: tuple[Message, ...], column: str) -> tuple[Message, ...]:
    """A chat without the reply that it ends in."""
    last = len(chat)
    while last and chat[last - 1].role == "assistant":
        last -= 1
    if not last:
        raise BadRow(f"{column} has no turn before the assistant's")
    return chat[:last]


def _answer(raw: Any, layout: Layout) -> str:
    column = layout.answer
    if isinstance(raw, list) and len(cast(list[Any], raw)) == 1:
        raw = cast(list[Any], raw)[0]
    if layout.structured and isinstance(raw, list | dict) and raw:
        return json.dumps(raw, ensure_ascii=False)
    if isinstance(raw, bool) or not isinstance(raw, str | int | float | None):
        raise BadRow(f"{column} is {kind(cast(object, raw))}, not a text or a number")
    text = "" if raw is None else str(raw).strip()
    if not text:
        raise BadRow(f"{column} is empty: without a reference nothing can be graded")
    return _gold(text, layout)


def _gold(text: str, layout: Layout) -> str:
    """The part of the answer column that is the reference."""
    if layout.gold_after is not None:
        _, found, gold = text.rpartition(layout.gold_after)
        if not found or not gold.strip():
            raise BadRow(
                f"{layout.answer} has nothing after {layout.gold_after!r}: ...{text[-40:]!r}"
            )
        return gold.strip()
    if layout.boxed:
        gold = (last_box(text) or "").strip()
        if not gold:
            raise BadRow(f"{layout.answer} has no reference in a last box: ...{text[-40:]!r}")
        return gold
    return text


def _refusal(path: str, bad: list[str], *, all_bad: bool) -> str:
    lines = [f"{path}: {'every row' if all_bad else len(bad)} can't be used:"]
    lines += [f"  {line}" for line in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"  and {len(bad) - _SHOWN} more")
    remedy = "set the columns (prompt, answer, id) to those that it has" if all_bad else "mend them"
    return "\n".join([*lines, remedy + ("" if all_bad else ", or leave them out: bad_rows=drop")])
