"""Grades the predicted output, or input, of a program."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from rlvr.rewards.answers import extract
from rlvr.rewards.answers.marked import gold_unparsed, judged, no_answer, unfenced
from rlvr.types import Problem, Verdict

VERIFIER = "json_io@1"
MAX_DEPTH = 50
"""Lists and objects inside each other; what is nested deeper is not read."""
MAX_TRIED = 32
"""Pieces between braces that are tried, from the last one back, which keeps the search linear."""

_TOKEN = re.compile(r'[{}]|"(?:[^"\\\n]|\\.)*+"?')  # an unclosed string ends with its line


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonIO:
    """Whether the last JSON object of a response predicts the value (CodeI/O, arXiv:2502.07316).

    Values are equal item by item, object keys in any order. Numbers may differ by a relative 1e-9,
    which is rounding; a text that is JSON stands for its value, as references are stored as text.
    """

    keys: Sequence[str] = ("output", "input")
    """Where in the object the value stands: the first of these that it has."""

    def __post_init__(self) -> None:
        if isinstance(self.keys, str) or not self.keys or not all(self.keys):
            raise ValueError(
                f"keys={self.keys!r}: the value is looked for under a name; give a list of at "
                "least one, such as [output, input]"
            )

    @property
    def maximum(self) -> float:
        """The reward of a right answer."""
        return 1.0

    def example(self, problem: Problem) -> str:
        """A text that predicts the reference."""
        keys, value = self._wanted(problem.answer)
        return json.dumps({keys[0]: problem.answer if isinstance(value, _Unread) else value})

    def __call__(self, problem: Problem, text: str) -> Verdict:
        keys, wanted = self._wanted(problem.answer)
        if isinstance(wanted, _Unread):
            return gold_unparsed(VERIFIER, problem.answer)
        said = extract.after_thinking(text)
        if said is None:
            return no_answer(VERIFIER, "the thinking never ended")
        found = last_object(said) or {}
        key = next((key for key in keys if key in found), None)
        if key is None:
            return no_answer(VERIFIER, f"no JSON object with the key {' or '.join(keys)}")
        correct = equal(wanted, found[key])
        shown = json.dumps(found[key], ensure_ascii=False)
        return judged(VERIFIER, correct, reward=float(correct), extracted=shown)

    def _wanted(self, gold: str) -> tuple[Sequence[str], Any]:
        """The keys to look under, and the value. A reference may name its key, or be the value."""
        read = parse(gold)
        if isinstance(read, dict):
            named = cast(dict[str, Any], read)
            for key in self.keys:
                if key in named:
                    return (key,), named[key]
        if isinstance(read, _Unread) and gold.strip():
            return self.keys, gold
        return self.keys, cast(Any, read)


class _Unread:
    """Stands for a text that is no JSON, which None is."""


_UNREAD = _Unread()


def parse(text: str) -> Any:
    """The JSON value that is all of a text, or a private mark that is no list, dict, str or number.

    Never raises: what is nested too deeply, or has numbers without a finite value, is not read.
    """
    try:
        value: Any = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return _UNREAD
    return value if _depth(value) <= MAX_DEPTH else _UNREAD


def parse_printed(text: str) -> Any:
    """As ``parse``; also for what Python prints, with single quotes only, and in a fence."""
    text = unfenced(text)
    value = parse(text)
    if isinstance(value, _Unread) and '"' not in text:
        return parse(text.replace("'", '"'))
    return value


def last_object(text: str) -> dict[str, Any] | None:
    """The last complete JSON object in a text; None where there is none.

    Takes time linear in the text: one pass pairs the braces, and few of the pairs are tried.
    """
    for start, end in reversed(_braced(text)):
        value = parse(text[start:end])
        if isinstance(value, dict):
            return cast(dict[str, Any], value)
    return None


def equal(a: Any, b: Any) -> bool:
    """Whether two JSON values are the same, by the rules of ``JsonIO``; in either direction."""
    a, b = _unquoted(a), _unquoted(b)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return _same_number(a, b)
    if isinstance(a, list) and isinstance(b, list):
        left, right = cast(list[Any], a), cast(list[Any], b)
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(a, dict) and isinstance(b, dict):
        named, other = cast(dict[str, Any], a), cast(dict[str, Any], b)
        return named.keys() == other.keys() and all(equal(named[k], other[k]) for k in named)
    if isinstance(a, str) and isinstance(b, str):
        return a.strip() == b.strip()
    return a is None and b is None


def _braced(text: str) -> list[tuple[int, int]]:
    """The last pairs of braces, in the order of their ends. Inside one, strings hide braces."""
    spans: list[tuple[int, int]] = []
    opened: list[int] = []
    place = text.find("{")
    while place >= 0:
        token = _TOKEN.search(text, place)
        if token is None:
            break
        place = token.end()
        if token[0] == "{":
            opened.append(token.start())
        elif token[0] == "}" and opened:
            spans.append((opened.pop(), place))
            if not opened:
                place = text.find("{", place)
    return spans[-MAX_TRIED:]


def _same_number(a: float, b: float) -> bool:
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    try:
        return math.isclose(a, b, rel_tol=1e-9)
    except OverflowError:
        return False  # a whole number beyond all floats is none of them


def _unquoted(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    read = parse(value)
    return value if isinstance(read, _Unread | str) else read


def _depth(value: Any) -> int:
    """How deep lists and objects stand inside each other, level by level, without recursion."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += cast(dict[str, Any], item).values()
            elif isinstance(item, list):
                inner += cast(list[Any], item)
        depth, level = depth + 1, inner
    return depth


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is larger than any float")
    return value
