"""The exact value of plain arithmetic, worked out without evaluating it as code."""

from __future__ import annotations

import re
from fractions import Fraction

MAX_EXPRESSION = 400
"""Characters."""
MAX_DEPTH = 40
"""Brackets inside each other."""

_TOKEN = re.compile(r"[0-9]{1,9}|[-+*/()]")
_SPELLINGS = str.maketrans(
    {
        "\N{MULTIPLICATION SIGN}": "*",
        "\N{DIVISION SIGN}": "/",
        "\N{MINUS SIGN}": "-",
        "[": "(",
        "]": ")",
    }
)


class _NotArithmetic(Exception):
    """It is no arithmetic, divides by zero, or is too large to be meant."""


def evaluated(expression: str) -> tuple[Fraction, list[int]] | None:
    """The value of whole numbers joined by + - * / and brackets, and the numbers in order.

    None where it is anything else, divides by zero, or is too long or too deep.
    """
    text = expression.translate(_SPELLINGS)
    if len(text) > MAX_EXPRESSION:
        return None
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != "".join(text.split()) or re.search(r"[0-9]\s+[0-9]", text):
        return None
    reader = _Reader(tokens)
    try:
        value = reader.sum(0)
    except _NotArithmetic:
        return None
    numbers = [int(token) for token in tokens if token[0] not in "+-*/()"]
    return (value, numbers) if reader.next() == "" else None


class _Reader:
    """Reads tokens by recursive descent."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._place = 0

    def next(self) -> str:
        """The token that stands next; empty at the end."""
        return self._tokens[self._place] if self._place < len(self._tokens) else ""

    def sum(self, depth: int) -> Fraction:
        value = self._product(depth)
        while self.next() in ("+", "-"):
            sign = 1 if self._take() == "+" else -1
            value += sign * self._product(depth)
        return value

    def _product(self, depth: int) -> Fraction:
        value = self._term(depth)
        while self.next() in ("*", "/"):
            if self._take() == "*":
                value *= self._term(depth)
            elif divisor := self._term(depth):
                value /= divisor
            else:
                raise _NotArithmetic
        return value

    def _term(self, depth: int) -> Fraction:
        if depth > MAX_DEPTH:
            raise _NotArithmetic
        match self._take():
            case "-":
                return -self._term(depth + 1)
            case "(":
                value = self.sum(depth + 1)
                if self._take() != ")":
                    raise _NotArithmetic
                return value
            case token if token.isdigit():
                return Fraction(int(token))
            case _:
                raise _NotArithmetic

    def _take(self) -> str:
        token = self.next()
        self._place += 1
        return token
