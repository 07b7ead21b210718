"""Compares what a program printed or a function returned with what it should."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, cast

_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
TOLERANCE = 1e-6
"""Of numbers with a fraction: absolute, and relative where they are larger than 1."""


def same_output(expected: str, printed: str) -> bool:
    """Whether two outputs agree line by line without trailing space, or else word by word.

    Words agree that are spelled alike, or numbers within ``TOLERANCE``; whole numbers only
    exactly.
    """
    if _lines(expected) == _lines(printed):
        return True
    wanted, given = expected.split(), printed.split()
    return len(wanted) == len(given) and all(map(_same_word, wanted, given))


def same_value(expected: Any, returned: Any) -> bool:
    """Whether a returned value is the expected one, up to what JSON cannot tell apart: tuples are
    lists, and keys are text. Numbers with a fraction agree within ``TOLERANCE``."""
    if isinstance(expected, str) or isinstance(returned, str):
        return bool(expected == returned)
    if isinstance(expected, Mapping) and isinstance(returned, Mapping):
        wanted = {str(key): item for key, item in cast(Mapping[Any, Any], expected).items()}
        given = {str(key): item for key, item in cast(Mapping[Any, Any], returned).items()}
        return wanted.keys() == given.keys() and all(
            same_value(item, given[key]) for key, item in wanted.items()
        )
    if isinstance(expected, Sequence) and isinstance(returned, Sequence):
        missing = object()
        pairs = zip_longest(
            cast(Sequence[Any], expected), cast(Sequence[Any], returned), fillvalue=missing
        )
        return all(same_value(*pair) for pair in pairs)
    if isinstance(expected, float) or isinstance(returned, float):
        if not (isinstance(expected, int | float) and isinstance(returned, int | float)):
            return False
        return _close(cast(float, expected), cast(float, returned))
    return bool(expected == returned)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _same_word(expected: str, printed: str) -> bool:
    if expected == printed:
        return True
    if not (_NUMBER.fullmatch(expected) and _NUMBER.fullmatch(printed)):
        return False
    if _WHOLE.fullmatch(expected) and _WHOLE.fullmatch(printed):
        return _digits(expected) == _digits(printed)  # as text: ints of any length
    return _close(float(expected), float(printed))


def _digits(whole: str) -> tuple[bool, str]:
    digits = whole.lstrip("+-").lstrip("0")
    return bool(digits) and whole.startswith("-"), digits


def _close(expected: float, given: float) -> bool:
    if expected == given:
        return True
    return abs(expected - given) <= TOLERANCE * max(1.0, abs(expected))
