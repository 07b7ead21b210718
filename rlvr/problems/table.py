"""Reads the rows of a table: a JSON, JSON Lines or Parquet file, or a dataset of the Hub."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow.parquet as parquet

SUFFIXES = (".jsonl", ".json", ".parquet")

Row = Mapping[str, Any]
_Item = TypeVar("_Item")


class DatasetError(ValueError):
    """A dataset that can't be trained on: which one, which rows, why, and what to do."""


class BadRow(ValueError):
    """A row that makes no problem, and why."""


def read_rows(path: str, name: str | None, split: str) -> Iterator[tuple[str, Row | BadRow]]:
    """Each row with its place, for people; a row that can't be read comes as the reason why."""
    file = Path(path).expanduser()
    if not suffix(path):
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


def suffix(path: str) -> str:
    """The ending of a file that is read here; empty for a name on the Hub."""
    ending = Path(path).suffix
    return ending if ending in SUFFIXES else ""


def _json_lines(file: Path) -> Iterator[tuple[str, Row | BadRow]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{file}:{number}", _object(line)


def _object(line: bytes) -> Row | BadRow:
    try:
        row: object = json.loads(line)
    except ValueError as error:
        return BadRow(f"not JSON ({error})")
    return cast(dict[str, Any], row) if isinstance(row, dict) else _not_an_object(row)


def _json_list(file: Path) -> Iterator[tuple[str, Row | BadRow]]:
    try:
        rows: object = json.loads(file.read_bytes())
    except ValueError as error:
        raise DatasetError(f"{file}: not JSON ({error}); one object per line is .jsonl") from error
    if not isinstance(rows, list):
        raise DatasetError(f"{file}: a .json file is a list of objects, got {kind(rows)}")
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


def _hub_rows(path: str, name: str | None, split: str) -> Iterator[tuple[str, Row]]:
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


def _numbered(path: str, rows: Iterable[_Item]) -> Iterator[tuple[str, _Item]]:
    for number, row in enumerate(rows):
        yield f"{path} row {number}", row


def kind(value: object) -> str:
    """What it is, for people."""
    return type(value).__name__


def _not_an_object(row: object) -> BadRow:
    return BadRow(f"a row is an object with columns, got {kind(row)}")


def _siblings(file: Path) -> list[str]:
    return [p.name for p in file.absolute().parent.glob("*") if p.suffix in SUFFIXES]
