"""Grades numbers and words looked up in, or worked out from, a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple, cast

from rlvr.rewards.answers import extract
from rlvr.rewards.answers.marked import (
    form_named,
    gold_unparsed,
    judged,
    no_answer,
    spelled,
)
from rlvr.rewards.json_io import parse_printed
from rlvr.types import Problem, Verdict

VERIFIER = "table@1"
MAX_PART = 2000
"""Characters; a longer part agrees with nothing."""

_NUMBER = re.compile(
    r"(?P<sign>[-+]?)\s?[$\N{EURO SIGN}\N{POUND SIGN}\N{YEN SIGN}]?\s?(?P<inner>[-+]?)"
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+|\d{1,40})(?:\.\d{0,40})?|\.\d{1,40})"
    r"(?P<power>e[-+]?\d{1,3})?\s?(?P<percent>%?)"
)
_LATEX = re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it)|mbox)\s?\{([^{}]*)\}")
_NOISE = re.compile(r"\\[(),;!]|\\(?=[$%&#])|\\left|\\right|(?<!\\)\$(?!\s?\d)|\{(?=,\})|(?<=,)\}")
_COMMA = re.compile(r",(?!\d{3}(?!\d))|,(?=\s)|;|\||\band\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Whether all parts of the marked answer are the reference's, in its order (Guru's tabular
    questions, arXiv:2506.14965).

    The reference is a JSON list, parts apart by ``|``, or one part. The answer gives as many, in
    one mark or in several on the last line that has any. Numbers, however written (``$1,234.50``,
    ``(12)`` for -12, ``12%`` for 12 or 0.12), may differ by a share; other parts are compared as
    text.
    """

    tolerance: float = 1e-3
    """Largest difference of two numbers, as a share of the larger."""
    exact_integers: bool = True
    """Two whole numbers must be equal: within 1e-3 the year 2019 would pass for 2020."""
    form: str = "box"
    """How an answer is marked: ``box``, ``answer_tag``, ``hashes`` or ``phrase``."""

    def __post_init__(self) -> None:
        form_named(self.form)
        if not 0.0 <= self.tolerance < 0.1:
            raise ValueError(
                f"tolerance={self.tolerance}: a share of the larger number; take one from 0 to "
                "below 0.1, such as 1e-3"
            )

    @property
    def maximum(self) -> float:
        """The reward of a right answer."""
        return 1.0

    def example(self, problem: Problem) -> str:
        """A text that gives the reference in the form that is looked for."""
        return extract.mark(problem.answer, form_named(self.form))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        gold = _gold_parts(problem.answer)
        if not gold or not all(_worded(part) for part in gold):
            return gold_unparsed(VERIFIER, problem.answer)
        said = extract.after_thinking(text)
        found = extract.answers(said, form_named(self.form)) if said is not None else ()
        if not found:
            missing = "the thinking never ended" if said is None else f"no answer as {self.form}"
            return no_answer(VERIFIER, missing)
        readings = _readings(found, len(gold))
        right = bool(readings) and all(self._same_parts(gold, given) for given in readings)
        detail = "" if readings else f"not {len(gold)} parts, or answers that differ"
        return judged(
            VERIFIER, right, reward=float(right), extracted=", ".join(found), detail=detail
        )

    def _same_parts(self, gold: Sequence[str], given: Sequence[str]) -> bool:
        return all(self.same(wanted, part) for wanted, part in zip(gold, given, strict=True))

    def same(self, a: str, b: str) -> bool:
        """Whether two parts agree; in either direction."""
        left, right = _number(a), _number(b)
        if left is None or right is None:
            return _worded(a) == _worded(b) != ""
        if left.percent == right.percent:
            return self._close(left.value, right.value, left.whole and right.whole)
        ratio, plain = (left, right) if left.percent else (right, left)
        return self._close(ratio.value, plain.value, ratio.whole and plain.whole) or self._close(
            ratio.value / 100, plain.value, False
        )

    def _close(self, a: float, b: float, whole: bool) -> bool:
        if whole and self.exact_integers:
            return a == b
        return abs(a - b) <= self.tolerance * max(abs(a), abs(b))


class _Number(NamedTuple):
    value: float
    whole: bool
    percent: bool


def _gold_parts(gold: str) -> list[str]:
    listed = parse_printed(gold)
    if isinstance(listed, list):
        return [str(item) for item in cast(list[object], listed)]
    return extract.unboxed(gold).split("|")


def _readings(found: Sequence[str], parts: int) -> Sequence[Sequence[str]]:
    """The ways to see the marked answers as that many parts, all of which must agree with the
    reference: one for several marks that are a part each, or else one for each mark."""
    if parts == 1:
        return [[mark] for mark in dict.fromkeys(found)]
    split = [_split(mark, parts) for mark in found]
    if all(len(mark) == parts for mark in split):
        return split
    return [found] if len(found) == parts else []


def _split(mark: str, parts: int) -> list[str]:
    listed = parse_printed(mark)
    if isinstance(listed, list):
        return [str(item) for item in cast(list[object], listed)]
    split = _COMMA.split(mark.strip("[]"))
    return split if len(split) == parts else mark.strip("[]").split(",")


def _plain(part: str) -> str:
    return _NOISE.sub("", _LATEX.sub(r" \1 ", _LATEX.sub(r" \1 ", part)))


def _worded(part: str) -> str:
    return spelled(_plain(part)) if len(part) <= MAX_PART else ""


def _number(part: str) -> _Number | None:
    text = _worded(part)
    negative = text.startswith("(") and text.endswith(")")
    match = _NUMBER.fullmatch(text[1:-1].strip() if negative else text)
    if match is None or (match["sign"] and match["inner"]):
        return None
    value = float(match["digits"].replace(",", "") + (match["power"] or ""))
    if not isfinite(value):
        return None
    minus = (match["sign"] or match["inner"]) == "-"
    whole = "." not in match["digits"] and not match["power"]
    return _Number(-value if minus != negative else value, whole, bool(match["percent"]))
