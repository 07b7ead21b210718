"""Layouts of data sets: which columns hold the prompt and the reference, told by their names.

verl           prompt, reward_model.ground_truth   (data_source, extra_info.index)
open-instruct  messages or prompt, ground_truth    (dataset)
OpenRLHF       input or prompt, label
GSM8K          question, answer                    the reference after "#### "
QA             question, answer
DeepScaleR     problem, answer                     NuminaMath's, too
OlympiadBench  question, final_answer
TRL            prompt, answer, ground_truth or solution
MATH           problem, solution                   the reference in its last box
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

Row = Mapping[str, Any]
FIRST = 8
"""Rows that a layout is told from."""
HASHES = "#### "
_BOX = "\\boxed{"


class LayoutError(ValueError):
    """Rows whose layout cannot be told: their columns, why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a row holds what a problem is made of. Dots reach into a column."""

    name: str
    prompt: str
    answer: str
    source: str | None = None
    """Column with what rewards and metrics know the problem by."""
    index: str | None = None
    """Column with the row's number in its split, where the data set says so."""
    split: str | None = None
    gold_after: str | None = None
    """The reference is what follows the last of these in the answer column."""
    boxed: bool = False
    """The reference is what the last ``\\boxed{}`` of the answer column holds."""
    structured: bool = False
    """A reference may be a list or an object; it is then its JSON."""
    replied: bool = False
    """The prompt's chat goes on with the reply to it, which is left out."""
    fits: Callable[[Row], bool] | None = None
    """Whether a row that has the columns also holds in them what the layout has there."""

    def __str__(self) -> str:
        where = f"after {self.gold_after!r} in {self.answer}" if self.gold_after else self.answer
        where = f"in the last box of {self.answer}" if self.boxed else where
        return f"{self.name} (prompt: {self.prompt}, reference: {where})"


def cell(row: Row, column: str) -> Any:
    """The row's value under a column; ``a.b`` is ``b`` inside of ``a`` where no column is so named.

    Raises:
        KeyError: there is no such column.
    """
    if column in row:
        return row[column]
    outer, dot, inner = column.partition(".")
    nested = row.get(outer)
    if dot and isinstance(nested, Mapping):
        return cell(cast(Row, nested), inner)
    raise KeyError(column)


def last_box(text: str) -> str | None:
    """What the last ``\\boxed{}`` holds; None where there is none that is closed."""
    start = text.rfind(_BOX)
    depth = 0
    for place in range(start + len(_BOX) - 1, len(text)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[start + len(_BOX) : place]
    return None


def recognise(
    rows: Sequence[Row], place: str, *, prompt: str | None = None, answer: str | None = None
) -> Layout:
    """The layout that most of the rows have. A column that is given by name is where it says.

    Raises:
        LayoutError: none or several, with the columns, the layouts known, and the remedy.
    """
    if prompt is not None and answer is not None:
        return Layout(name="named columns", prompt=prompt, answer=answer)
    given = prompt or answer
    layouts = [_with(layout, prompt, answer) for layout in LAYOUTS]
    found = [layout for layout in layouts if _most(rows, layout, given)]
    if not found:
        raise LayoutError(_unknown(rows, place))
    first = found[0]
    others = [layout for layout in found[1:] if _differ(rows, first, layout)]
    if others and first.name not in _DECISIVE:
        options = "; or ".join(f"prompt={o.prompt} answer={o.answer}" for o in (first, *others))
        raise LayoutError(
            f"{place}: its columns ({', '.join(_columns(rows))}) can be read in several ways; "
            f"say which: {options}"
        )
    return first


def _with(layout: Layout, prompt: str | None, answer: str | None) -> Layout:
    """The layout with the columns that are given in place of its own."""
    if answer is not None:
        return replace(layout, answer=answer, gold_after=None, boxed=False, fits=None)
    return layout if prompt is None else replace(layout, prompt=prompt)


def _most(rows: Sequence[Row], layout: Layout, given: str | None) -> bool:
    """Whether half the rows have the columns that are not given, and in them what belongs there."""
    names = [name for name in (layout.prompt, layout.answer) if name != given]
    having = [row for row in rows if all(_has(row, name) for name in names)]
    fits = layout.fits
    return 2 * len(having) >= max(len(rows), 1) and (
        fits is None or all(fits(row) for row in having)
    )


def _has(row: Row, column: str) -> bool:
    try:
        cell(row, column)
    except KeyError:
        return False
    return True


def _differ(rows: Sequence[Row], one: Layout, other: Layout) -> bool:
    """Whether two layouts read another prompt or another reference out of some row."""
    columns = ((one.prompt, other.prompt), (one.answer, other.answer))
    return any(
        cell(row, mine) != cell(row, its)
        for row in rows
        for mine, its in columns
        if _has(row, mine) and _has(row, its)
    )


def _columns(rows: Sequence[Row]) -> list[str]:
    return sorted({column for row in rows for column in row})


def _unknown(rows: Sequence[Row], place: str) -> str:
    known = "; ".join(str(layout) for layout in LAYOUTS)
    return (
        f"{place}: its columns ({', '.join(_columns(rows)) or 'none'}) follow no known layout. Say "
        f"which hold the prompt and the reference (prompt=..., answer=...), or name them as in one "
        f"of these: {known}"
    )


def _text_with(mark: str) -> Callable[[Row], bool]:
    return lambda row: mark in str(row.get("answer"))


def _solution_is_boxed(row: Row) -> bool:
    return last_box(str(row.get("solution"))) is not None


def _without_answer(row: Row) -> bool:
    """``solution`` is the way to the reference where another column has the reference itself."""
    return not {"answer", "final_answer", "ground_truth", "label"} & set(row)


LAYOUTS = (
    Layout(
        name="verl",
        prompt="prompt",
        answer="reward_model.ground_truth",
        source="data_source",
        index="extra_info.index",
        split="extra_info.split",
        structured=True,
    ),
    Layout(
        name="open-instruct",
        prompt="messages",
        answer="ground_truth",
        source="dataset",
        structured=True,
        replied=True,
    ),
    Layout(
        name="open-instruct",
        prompt="prompt",
        answer="ground_truth",
        source="dataset",
        structured=True,
        fits=lambda row: "dataset" in row,
    ),
    Layout(
        name="GSM8K",
        prompt="question",
        answer="answer",
        gold_after=HASHES,
        fits=_text_with(HASHES),
    ),
    Layout(name="QA", prompt="question", answer="answer"),
    Layout(name="OlympiadBench", prompt="question", answer="final_answer"),
    Layout(name="DeepScaleR", prompt="problem", answer="answer"),
    Layout(name="OpenRLHF", prompt="input", answer="label"),
    Layout(name="OpenRLHF", prompt="prompt", answer="label"),
    Layout(name="OpenRLHF", prompt="input", answer="answer"),
    Layout(name="TRL", prompt="prompt", answer="answer"),
    Layout(name="TRL", prompt="prompt", answer="ground_truth"),
    Layout(name="TRL", prompt="prompt", answer="solution", fits=_without_answer),
    Layout(
        name="MATH",
        prompt="problem",
        answer="solution",
        boxed=True,
        fits=lambda row: _without_answer(row) and _solution_is_boxed(row),
    ),
)
_DECISIVE = frozenset({"verl", "GSM8K"})
"""Told by more than the names of two columns, so that others cannot be meant."""
