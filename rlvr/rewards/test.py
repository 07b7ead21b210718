"""Tries a reward out before any GPU is spent on it.

    python -m rlvr.rewards.test my_reward.py:score rows.jsonl
    python -m rlvr.rewards.test my_reward.py:score rows.jsonl --answers responses.jsonl --style verl

Rows are read as ``rlvr.problems.dataset`` does. What is graded are the responses that the rows hold
(``response``, ``responses`` or ``completion``) or that ``--answers`` holds (one line per row, or
lines with an ``id``); without them, texts made out of each reference: right and wrong ones under
the usual marks, and empty, huge, Unicode and deeply nested ones.

Exit codes: 0 nothing found; 1 something found; 2 the reward, the rows or the responses can't be
used.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from rich.console import Console

from rlvr.problems.dataset import Dataset
from rlvr.problems.table import BadRow, DatasetError, read_rows
from rlvr.rewards.serving.jail import JailError
from rlvr.rewards.trials import report as trial_report
from rlvr.rewards.trials.trial import Plan, groups, try_out
from rlvr.types import Problem

RESPONSES = ("response", "responses", "completion", "completions", "output")
"""Columns that hold what a model answered."""
_WIDTH = 120
"""Characters of a line where there is no terminal."""


class ResponsesError(ValueError):
    """Responses that belong to no row, or that are no texts."""


def main(argv: Sequence[str] | None = None) -> int:
    """Try the reward out and say what was found."""
    options = _arguments(argv)
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    try:
        spec = _spec(options.reward, options.style, options.kwargs)
        rows = Dataset(
            options.rows,
            prompt=options.prompt,
            answer=options.answer,
            gold_after=options.gold_after,
            limit=options.limit,
            bad_rows="drop",
        )
        problems = rows.all()
        responses = _responses(problems, options.answers)
        plan = Plan(
            seconds=options.seconds,
            memory_gb=options.memory_gb,
            calls=options.calls,
            threads=options.threads,
        )
        with console.status("trying it out") as status:
            seen = try_out(spec, groups(problems, responses), plan, status.update)
    except (DatasetError, ResponsesError, JailError) as error:
        print(f"rlvr: {error}", file=sys.stderr)
        return 2
    trial_report.show(console, seen, plan, rows.layout, rows.dropped)
    findings = trial_report.findings(seen, plan)
    trial_report.show_judgement(console, findings, trial_report.notes(seen))
    return 1 if findings else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rlvr.rewards.test", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("reward", help="path/to/file.py:function, a plug-in's class, or a node as JSON")
    add("rows", help="a .jsonl, .json or .parquet file, or a dataset's name on the Hub")
    add("--answers", metavar="FILE", help="responses: .jsonl, .json or .parquet")
    add("--style", default="", help="the function's convention, where its names do not tell it")
    add("--kwargs", default="{}", metavar="JSON", help="settings of the function or the class")
    add("--prompt", help="column with the prompt, where its name does not tell it")
    add("--answer", help="column with the reference, likewise")
    add("--gold-after", help="the reference is what follows the last of these")
    add("--limit", type=_at_least(1), default=32, help="rows to try (%(default)s)")
    add("--seconds", type=_above_zero, default=5.0, help="for one verdict (%(default)s)")
    add("--memory-gb", type=_above_zero, default=2.0, help="of a process (%(default)s)")
    add("--calls", type=_at_least(10), default=200, help="to watch for leaks (%(default)s)")
    add("--threads", type=_at_least(2), default=4, help="at once (%(default)s)")
    return parser.parse_args(argv)


def _at_least(least: int) -> Any:
    def read(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{number} is too small; use at least {least}")
        return number

    return read


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{number} is no such size; use a number above 0")
    return number


def _spec(reward: str, style: str, kwargs: str) -> object:
    """What a recipe would say of the reward.

    Raises:
        ResponsesError: it is not JSON where it has to be.
    """
    settings = _mapping(kwargs, "--kwargs")
    if reward.startswith("{"):
        return _mapping(reward, "reward")
    if ".py:" not in reward and "/" not in reward and "." in reward:
        return {"_target_": reward, **settings}
    return {"path": reward, "style": style, "kwargs": settings} if style or settings else reward


def _mapping(text: str, name: str) -> dict[str, Any]:
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise ResponsesError(f"{name}={text}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ResponsesError(f"{name}={text}: an object is expected, such as {{}}")
    return cast(dict[str, Any], value)


def _responses(problems: Sequence[Problem], path: str | None) -> list[tuple[str, ...]]:
    """The responses to each problem; empty where there are none at all."""
    if path is None:
        own = [_of(problem.extra, problem.id) for problem in problems]
        return own if any(own) else []
    named: dict[str, tuple[str, ...]] = {}
    in_order: list[tuple[str, ...]] = []
    for place, row in read_rows(path, None, "train"):
        if isinstance(row, BadRow):
            raise ResponsesError(f"{place}: {row}; mend it")
        found = _of(row, place)
        if not found:
            raise ResponsesError(
                f"{place}: no response in its columns {', '.join(sorted(row))}; name the column "
                f"one of {', '.join(RESPONSES)}"
            )
        in_order.append(found)
        if "id" in row:
            known = str(row["id"])
            named[known] = named.get(known, ()) + found
    if not any(problem.id in named for problem in problems):
        return in_order[: len(problems)]
    return [named.get(problem.id, ()) for problem in problems]


def _of(row: Mapping[str, Any], place: str) -> tuple[str, ...]:
    """The responses that a row holds: a text, a chat, or a list of either."""
    for column in RESPONSES:
        value = cast(object, row.get(column))
        if value is not None:
            held = [value]
            if isinstance(value, list) and not _is_chat(cast(object, value)):
                held = cast(list[object], value)
            return tuple(_text(one, place, column) for one in held)
    return ()


def _is_chat(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(v, Mapping) for v in cast(Any, value))


def _text(value: object, place: str, column: str) -> str:
    if _is_chat(value):
        value = cast(list[Mapping[str, object]], value)[-1].get("content")
    if not isinstance(value, str):
        raise ResponsesError(
            f"{place}: {column} holds a {type(value).__name__}; a response is a text or a chat"
        )
    return value


if __name__ == "__main__":
    sys.exit(main())
