r"""One spelling for answers that differ only in how they are written.

Nothing here changes a value: ``\dfrac12`` and ``\frac{1}{2}`` become the same string, 1/2 and 0.5
do not.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Quantity(NamedTuple):
    """An answer in one spelling, and the unit that stood behind it (empty where there is none)."""

    body: str
    unit: str


_ROW = "\ue000"  # stands for the two backslashes between rows, which begin no command
_CHARACTERS = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{MULTIPLICATION SIGN}": r"\times ",
        "\N{MIDDLE DOT}": r"\cdot ",
        "\N{DIVISION SIGN}": "/",
        "\N{GREEK SMALL LETTER PI}": r"\pi ",
        "\N{INFINITY}": r"\infty ",
        "\N{LESS-THAN OR EQUAL TO}": r"\le ",
        "\N{GREATER-THAN OR EQUAL TO}": r"\ge ",
        "\N{NOT EQUAL TO}": r"\ne ",
        "\N{PLUS-MINUS SIGN}": r"\pm ",
        "\N{UNION}": r"\cup ",
        "\N{DEGREE SIGN}": r"^{\circ}",
        "\N{SUPERSCRIPT TWO}": "^2",
        "\N{SUPERSCRIPT THREE}": "^3",
        "\N{NO-BREAK SPACE}": " ",
        "\N{NARROW NO-BREAK SPACE}": " ",
        "\N{FULLWIDTH LEFT PARENTHESIS}": "(",
        "\N{FULLWIDTH RIGHT PARENTHESIS}": ")",
        "\N{FULLWIDTH COMMA}": ",",
    }
)
_REWRITES = tuple(
    (re.compile(pattern), becomes)
    for pattern, becomes in (
        (r"\\\\", _ROW),
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\.?", ""),
        (r"\\(?:displaystyle|textstyle|limits|ensuremath|boldsymbol)(?![a-zA-Z])", ""),
        (r"\\(?:[,!;:> ]|q?quad(?![a-zA-Z]))|~", " "),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
        (r"\\sqrt\s*(\w)", r"\\sqrt{\1}"),
        (r"\\(le|ge|ne)(?:q|qslant)(?![a-zA-Z])", r"\\\1 "),
        (r"\\(?:varnothing|O)(?![a-zA-Z])", r"\\emptyset"),
        (r"\\(?:dots|ldots|cdots)(?![a-zA-Z])", "..."),
        (r"\\%", "%"),
        (r"\\?\$|\\[()\[\]]", " "),
        (r"(?<=\d)\{,\}(?=\d)", ","),
        (r"\\\{\s*\\\}", r"\\emptyset "),
        (r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi "),
        (r"(?<![\\A-Za-z])(?:infinity|inf|infty)(?![A-Za-z])", r"\\infty "),
        (r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
    )
)
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|normal)?|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}"
)
_TEXT_UNIT = re.compile(
    r"(?P<body>.*[\d})%])\s*\\(?:text(?:rm|bf)?|mathrm|mbox)\s*\{(?P<unit>[^{}\d]*)\}\s*"
    r"(?P<power>\^\s*\{?[23]\}?)?",
    re.DOTALL,
)
_WORD_UNIT = re.compile(
    r"(?P<body>.*[\d})])\s*(?P<unit>(?<=\s)m|cm|mm|km|kg|mph|"
    r"(?:square |cubic )?[a-z]*meters?|inch(?:es)?|feet|foot|yards?|miles?|"
    r"seconds?|minutes?|hours?|days?|weeks?|months?|years?|grams?|kilograms?|pounds?|"
    r"dollars?|cents?|degrees?|percent|units?|points?)"
    r"(?P<power>\^\s*\{?[23]\}?)?",
    re.DOTALL,
)
_COUNTED = re.compile(r"(?P<body>-?\d[\d.,]*) (?P<unit>[a-z]{4,}(?: [a-z]+)*)(?P<power>)")
_DEGREES = re.compile(r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ)\s*$")
_SPACES = re.compile(r"\s+")
_SPACE_THAT_SAYS_NOTHING = re.compile(r"(?<![0-9A-Za-z]) | (?![0-9A-Za-z])")
_SAME_UNIT = {
    "centimeter": "cm",
    "millimeter": "mm",
    "kilometer": "km",
    "meter": "m",
    "kilogram": "kg",
    "gram": "g",
    "inch": "in",
    "inche": "in",
    "feet": "ft",
    "foot": "ft",
    "hour": "h",
    "hr": "h",
    "minute": "min",
    "second": "s",
    "sec": "s",
    "mph": "mile per h",
}
_NO_UNIT = frozenset({"", "unit", "square unit", "cubic unit"})


def quantity(answer: str) -> Quantity:
    """The answer in one spelling, apart from its unit."""
    text = answer.translate(_CHARACTERS).strip().rstrip(".").strip()
    for pattern, becomes in _REWRITES:
        text = pattern.sub(becomes, text)
    text = text.strip()
    text, unit = _split_unit(text)
    degrees = _DEGREES.search(text)
    if degrees:
        text, unit = text[: degrees.start()], unit or "degree"
    words = _TEXT.sub(r" \1 ", _TEXT.sub(r" \1 ", text))
    return Quantity(_tight(words).replace(_ROW, r"\\"), unit)


def same_unit(a: str, b: str) -> bool:
    """Whether two units agree. One that is left out agrees with any."""
    return a in _NO_UNIT or b in _NO_UNIT or a == b


def _split_unit(text: str) -> tuple[str, str]:
    match = _TEXT_UNIT.fullmatch(text) or _WORD_UNIT.fullmatch(text) or _COUNTED.fullmatch(text)
    if match is None:
        return text, ""
    unit = match["unit"].replace("-", " ").strip(" .").lower()
    if unit == "percent":
        return match["body"] + "%", ""
    power = (match["power"] or "").strip("^{} ")
    for word, exponent in (("square ", "2"), ("cubic ", "3"), ("sq ", "2")):
        if unit.startswith(word) and unit not in _NO_UNIT:
            unit, power = unit.removeprefix(word), exponent
    words = [word.removesuffix("s") if len(word) > 2 else word for word in unit.split()]
    return match["body"], " ".join(_SAME_UNIT.get(word, word) for word in words) + power


def _tight(text: str) -> str:
    """Single spaces, and only where they part two words or numbers."""
    return _SPACE_THAT_SAYS_NOTHING.sub("", _SPACES.sub(" ", text).strip())
