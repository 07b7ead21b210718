"""Golden suites: texts whose verdict is known, with the reason, as lines of JSON.

Three kinds of rows, told apart by their keys:
    gold, answer, same        two bare answers, and whether they mean the same
    gold, text, outcome       a whole response, and its outcome, or a list of admissible ones
    the same with unit and repeat: each ``@`` in the text stands for ``unit`` so many times
All have ``why``; ``kind`` groups them, ``form`` says how the answer is marked where not by a box.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rlvr.types import Outcome

REFUSED = frozenset({Outcome.WRONG, Outcome.NO_ANSWER, Outcome.GOLD_UNPARSED})
"""What may be said of an answer that is not the reference's."""


class SuiteError(ValueError):
    """A suite that can't be read: which line, why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A text with its admissible outcomes."""

    suite: str
    kind: str
    gold: str
    text: str | None
    """None where only the bare answer is known: the reward says how it wants to see it."""
    answer: str | None
    """The bare answer of an equivalence; such a case is graded in both directions."""
    outcomes: frozenset[Outcome]
    why: str
    form: str | None = None

    @property
    def must_pass(self) -> bool:
        return self.outcomes == frozenset({Outcome.CORRECT})

    @property
    def must_fail(self) -> bool:
        return Outcome.CORRECT not in self.outcomes


def read_suite(path: Path) -> list[Case]:
    """The cases of a .jsonl file.

    Raises:
        SuiteError: no such file, no case in it, or a line that is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"suite {path}: it can't be read ({error}); give a .jsonl file") from error
    cases = list(_cases(path, lines))
    if not cases:
        raise SuiteError(f"suite {path}: it has no line; give a suite with some")
    return cases


def _cases(path: Path, lines: list[str]) -> Iterator[Case]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row: object = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("it is no object")
            yield _case(path.stem, cast(dict[str, Any], row))
        except (ValueError, TypeError, KeyError) as error:
            what = f"no key {error}" if isinstance(error, KeyError) else str(error)
            raise SuiteError(
                f"suite {path}:{number}: {what}; a row has gold, why, and either answer and same "
                f"(true or false) or text and outcome (of {', '.join(Outcome)})"
            ) from error


def _case(suite: str, row: Mapping[str, Any]) -> Case:
    form = row.get("form")
    kind = str(row.get("kind") or (f"form {form}" if form else suite))
    if "answer" in row:
        if not isinstance(row["same"], bool):
            raise ValueError(f"same={row['same']!r} is neither true nor false")
        text, answer = None, str(row["answer"])
        outcomes = frozenset({Outcome.CORRECT}) if row["same"] else REFUSED
    else:
        stated = row["outcome"]
        names = cast(list[str], stated if isinstance(stated, list) else [stated])
        text, answer = _unfolded(row), None
        outcomes = frozenset(map(Outcome, names))
    return Case(
        suite=suite,
        kind=kind,
        gold=str(row["gold"]),
        text=text,
        answer=answer,
        outcomes=outcomes,
        why=str(row["why"]),
        form=form,
    )


def _unfolded(row: Mapping[str, Any]) -> str:
    text = str(row["text"])
    if row.get("repeat") is None:
        return text
    return text.replace("@", str(row["unit"]) * int(row["repeat"]))
