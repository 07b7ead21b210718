"""Numbers that are compared exactly: as fractions, never as floats."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

MAX_DIGITS = 400
"""Longer numbers are left to the comparison of strings; `int` is quadratic in them."""
MAX_EXPONENT = 400
"""Largest power of ten that is multiplied out."""
MIN_ROUNDED_DIGITS = 6
"""Significant digits from which a decimal may stand for a fraction that it rounds."""


class Number(NamedTuple):
    """A rational number and how it was written."""

    value: Fraction
    places: int | None
    """Digits behind the decimal point; None for integers and fractions."""
    digits: int
    """Significant digits."""
    percent: bool


_DECIMAL = r"(?:\d+(?:\.\d*)?|\.\d+)"
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:(?:,\d{3})+|(?: \d{3})+)(?:\.\d+)?")
_SIMPLE = re.compile(rf"(?P<number>{_DECIMAL})")
_FRACTION = re.compile(
    rf"(?P<whole>\d*)\\frac\{{(?P<a>-?{_DECIMAL})\}}\{{(?P<b>-?{_DECIMAL})\}}"
    rf"|(?P<c>{_DECIMAL})/(?P<d>-?{_DECIMAL})"
)
_MIXED = re.compile(r"(?P<whole>\d+) (?P<c>\d+)/(?P<d>\d+)")
_REPEATING = re.compile(r"(?P<number>\d*\.\d*)\\overline\{(?P<period>\d+)\}(?:\.\.\.)?")
_SCIENTIFIC = re.compile(
    rf"(?P<number>{_DECIMAL})(?:\\times|\\cdot|\*)10\^(?:\{{(?P<p>[+-]?\d+)\}}|(?P<q>[+-]?\d+))"
    rf"|(?P<n>{_DECIMAL})[eE](?P<e>[+-]?\d+)"
)


def number(body: str) -> Number | None:
    """The number that a spelling stands for, or None where it is not a plain rational."""
    if len(body) > MAX_DIGITS:
        return None
    percent = body.endswith("%")
    unsigned = body.removesuffix("%").lstrip("+-")
    sign = body[: len(body.removesuffix("%")) - len(unsigned)]
    if sign not in ("", "+", "-"):
        return None
    if _GROUPED.fullmatch(unsigned):
        unsigned = unsigned.replace(",", "").replace(" ", "")
    found = (
        _decimal(unsigned) or _fraction(unsigned) or _repeating(unsigned) or _scientific(unsigned)
    )
    if found is None:
        return None
    return found._replace(value=-found.value if sign == "-" else found.value, percent=percent)


def equal(a: Number, b: Number) -> bool:
    """Whether two numbers are the same.

    A per cent equals its value and its bare number, since datasets drop the sign. A decimal equals
    a fraction that it rounds or cuts at six significant digits or more.
    """
    pairs = [(a, b)]
    if a.percent != b.percent:
        pairs.append((_valued(a), _valued(b)))
    return any(_close(x, y) for x, y in pairs)


def _close(a: Number, b: Number) -> bool:
    if a.value == b.value:
        return True
    if (a.places is None) == (b.places is None):
        return False
    rounded, exact = (b, a) if a.places is None else (a, b)
    if exact.value.denominator == 1 or rounded.digits < MIN_ROUNDED_DIGITS:
        return False
    off = abs(rounded.value - exact.value) * 10 ** (rounded.places or 0)
    return off <= Fraction(1, 2) or (off < 1 and abs(rounded.value) < abs(exact.value))


def _valued(a: Number) -> Number:
    if not a.percent:
        return a
    places = a.places if a.places is None else a.places + 2
    return a._replace(value=a.value / 100, places=places, percent=False)


def exact(value: Fraction) -> Number:
    """A number that is not written as a decimal."""
    return Number(value, None, 0, False)


def _decimal(text: str) -> Number | None:
    if not _SIMPLE.fullmatch(text):
        return None
    whole, _, behind = text.partition(".")
    if not behind:
        return exact(Fraction(int(whole)))
    return Number(Fraction(text), len(behind), len((whole + behind).lstrip("0")), percent=False)


def _fraction(text: str) -> Number | None:
    match = _MIXED.fullmatch(text) or _FRACTION.fullmatch(text)
    if match is None:
        return None
    parts = match.groupdict()
    above, below = parts.get("a") or parts["c"], parts.get("b") or parts["d"]
    if not Fraction(below):
        return None
    return exact(int(match["whole"] or 0) + Fraction(above) / Fraction(below))


def _repeating(text: str) -> Number | None:
    match = _REPEATING.fullmatch(text)
    if match is None:
        return None
    head, period = match["number"], match["period"]
    places = len(head.partition(".")[2])
    start = Fraction("0" + head + "0")
    return exact(start + Fraction(int(period), (10 ** len(period) - 1) * 10**places))


def _scientific(text: str) -> Number | None:
    match = _SCIENTIFIC.fullmatch(text)
    if match is None:
        return None
    exponent = match["p"] or match["q"] or match["e"]
    if len(exponent) > 5 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    return exact(Fraction(match["number"] or match["n"]) * Fraction(10) ** int(exponent))
