"""Problems out of a table: a JSON, JSON Lines or Parquet file, or a dataset of the Hub."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import pyarrow.parquet as parquet

from rlvr.problems.stream import Shuffled
from rlvr.types import Message, Problem

SUFFIXES = (".jsonl", ".json", ".parquet")

_SHOWN = 5

Row = TypeVar("Row")


class DatasetError(ValueError):
    """A dataset that can't be trained on: which one, which rows, why, and what to do."""


class _BadRow(ValueError):
    """A row that makes no problem, and why."""


class Dataset(Shuffled):
    """One problem per row, named ``<source>/<split>/<row>`` unless a column names it.

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
        source: what rewards and metrics know the problems by; by default the path's last part.
        bad_rows: ``refuse`` the dataset, or ``drop`` them and say so in ``dropped``.

    Raises:
        DatasetError: no such dataset, rows that make no problem, or no problem at all.
    """

    dropped: tuple[str, ...]
    """Place and reason of each row that was left out."""

    def __init__(
        self,
        path: str,
        name: str | None = None,
        split: str = "train",
        prompt: str = "question",
        answer: str = "answer",
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
        self._columns = {"prompt": prompt, "answer": answer} | ({"id": id} if id else {})
        self._gold_after = gold_after
        self._source = source or Path(path).name.removesuffix(_suffix(path))
        self._split = split
        problems: dict[str, Problem] = {}
        dropped: list[str] = []
        for number, (place, row) in enumerate(_rows(path, name, split)):
            try:
                problem = self._problem(number, row)
                if problem.id in problems:
                    raise _BadRow(f"id {problem.id!r} is already taken by a row before it")
                problems[problem.id] = problem
            except _BadRow as reason:
                dropped.append(f"{place}: {reason}")
            if len(problems) == limit:
                break
        self.dropped = tuple(dropped)
        if dropped and (bad_rows == "refuse" or not problems):
            raise DatasetError(_refusal(path, dropped, all_bad=not problems))
        if not problems:
            raise DatasetError(f"{path}: it has no row; give a path or split that has some")
        super().__init__(tuple(problems.values()), seed=seed)

    def _problem(self, number: int, row: Mapping[str, Any] | _BadRow) -> Problem:
        if isinstance(row, _BadRow):
            raise row
        cells = {role: _cell(row, column) for role, column in self._columns.items()}
        used = set(self._columns.values())
        if self._gold_after is not None:
            used.discard(self._columns["answer"])  # What stood before the gold stays readable.
        return Problem(
            id=str(cells.get("id", f"{self._source}/{self._split}/{number}")),
            prompt=_prompt(cells["prompt"], self._columns["prompt"]),
            answer=_answer(cells["answer"], self._columns["answer"], self._gold_after),
            source=self._source,
            extra={key: value for key, value in row.items() if key not in used},
        )


def _rows(
    path: str, name: str | None, split: str
) -> Iterator[tuple[str, Mapping[str, Any] | _BadRow]]:
    """Each row with its place, for people; a row that can't be read comes as the reason why."""
    file = Path(path).expanduser()
    if not _suffix(path):
        yield from _hub_rows(path, name, split)
    elif not file.is_file():
        near = difflib.get_close_matches(file.name, _siblings(file), n=1)
        raise DatasetError(
            f"{path}: there is no file {file.absolute()}"
            + (f"; did you mean {file.with_name(near[0])}?" if near else "; check the path")
        )
    elif file.suffix == ".jsonl":
        yield from _json_lines(file)
    elif file.suffix == ".json":
        yield from _json_list(file)
    else:
        yield from _numbered(path, _parquet_rows(file))


def _suffix(path: str) -> str:
    """The ending of a file that is read here; empty for a name on the Hub."""
    return suffix if (suffix := Path(path).suffix) in SUFFIXES else ""


def _json_lines(file: Path) -> Iterator[tuple[str, Mapping[str, Any] | _BadRow]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{file}:{number}", _object(line)


def _object(line: bytes) -> Mapping[str, Any] | _BadRow:
    try:
        row: object = json.loads(line)
    except ValueError as error:
        return _BadRow(f"not JSON ({error})")
    return cast(dict[str, Any], row) if isinstance(row, dict) else _not_an_object(row)


def _json_list(file: Path) -> Iterator[tuple[str, Mapping[str, Any] | _BadRow]]:
    try:
        rows: object = json.loads(file.read_bytes())
    except ValueError as error:
        raise DatasetError(f"{file}: not JSON ({error}); one object per line is .jsonl") from error
    if not isinstance(rows, list):
        raise DatasetError(f"{file}: a .json file is a list of objects, got {_kind(rows)}")
    for place, row in _numbered(str(file), cast(list[object], rows)):
        yield place, cast(dict[str, Any], row) if isinstance(row, dict) else _not_an_object(row)


def _parquet_rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        table: Any = parquet.ParquetFile(file)
        for batch in table.iter_batches():
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{file}: not a readable Parquet file ({error}); write it again"
        ) from error


def _hub_rows(path: str, name: str | None, split: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    # Only here: its import takes over a second, which runs on local files need not wait for.
    import datasets  # noqa: PLC0415

    try:
        rows = cast(Any, datasets).load_dataset(path, name, split=split)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path} (name={name}, split={split}): the Hub dataset can't be loaded: {error}. "
            f"Check name and network, or give a local file ({', '.join(SUFFIXES)}) as path"
        ) from error
    yield from _numbered(f"{path}[{split}]", rows)


def _numbered(path: str, rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    for number, row in enumerate(rows):
        yield f"{path} row {number}", row


def _cell(row: Mapping[str, Any], column: str) -> Any:
    """The row's value under a column; ``a.b`` is ``b`` inside of ``a`` where no column is so named.

    Raises:
        _BadRow: there is no such column.
    """
    if column in row:
        return row[column]
    outer, dot, inner = column.partition(".")
    if dot and isinstance(row.get(outer), Mapping):
        return _cell(cast(Mapping[str, Any], row[outer]), inner)
    near = difflib.get_close_matches(column, list(row), n=1, cutoff=0.5)
    raise _BadRow(
        f"no column {column!r}; it has {', '.join(sorted(row)) or 'none'}"
        + (f"; did you mean {near[0]!r}?" if near else "")
    )


def _prompt(cell: Any, column: str) -> str | tuple[Message, ...]:
    if cell is None or cell == [] or (isinstance(cell, str) and not cell.strip()):
        raise _BadRow(f"{column} is empty")
    if isinstance(cell, str):
        return cell
    if isinstance(cell, list):
        return tuple(_message(turn, column) for turn in cast(list[object], cell))
    raise _BadRow(f"{column} is {_kind(cell)}, not a text or a list of messages")


def _message(turn: object, column: str) -> Message:
    fields = cast(dict[str, object], turn) if isinstance(turn, dict) else {}
    role, content = fields.get("role"), fields.get("content")
    if not isinstance(role, str) or not isinstance(content, str):
        raise _BadRow(f"{column} has a message without the texts role and content: {turn!r:.80}")
    return Message(role=role, content=content)


def _answer(cell: Any, column: str, gold_after: str | None) -> str:
    if isinstance(cell, bool) or not isinstance(cell, str | int | float | None):
        raise _BadRow(f"{column} is {_kind(cell)}, not a text or a number")
    text = "" if cell is None else str(cell).strip()
    if not text:
        raise _BadRow(f"{column} is empty: without a reference nothing can be graded")
    if gold_after is None:
        return text
    _, found, gold = text.rpartition(gold_after)
    if not found or not gold.strip():
        raise _BadRow(f"{column} has nothing after {gold_after!r}: ...{text[-40:]!r}")
    return gold.strip()


def _kind(value: object) -> str:
    return type(value).__name__


def _not_an_object(row: object) -> _BadRow:
    return _BadRow(f"a row is an object with columns, got {_kind(row)}")


def _siblings(file: Path) -> list[str]:
    return [p.name for p in file.absolute().parent.glob("*") if p.suffix in SUFFIXES]


def _refusal(path: str, bad: list[str], *, all_bad: bool) -> str:
    lines = [f"{path}: {'every row' if all_bad else len(bad)} can't be used:"]
    lines += [f"  {line}" for line in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"  and {len(bad) - _SHOWN} more")
    remedy = "set the columns (prompt, answer, id) to those that it has" if all_bad else "mend them"
    return "\n".join([*lines, remedy + ("" if all_bad else ", or leave them out: bad_rows=drop")])
