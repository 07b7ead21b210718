r"""Answers of several parts: ``(1,2)``, ``\{1,2\}``, ``[0,1)``, ``1, 2``, ``\pm 2``, unions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple


class Parts(NamedTuple):
    """The parts of an answer and what holds them together."""

    brackets: str
    r"""``()``, ``[]``, ``[)``, ``(]``, ``{}``, ``\cup``, or empty where they just follow."""
    items: tuple[str, ...]


_TOKEN = re.compile(
    r"\\begin\{\w+\}|\\end\{\w+\}|\\\{|\\\}|\\cup|\\pm|\\[A-Za-z]+|\\.| (?:and|or) |.", re.DOTALL
)
_MEMBER = re.compile(r"(?:[A-Za-z]\\in ?|\([A-Za-z](?:,[A-Za-z])*\)=)")
_OPENS = {"(", "[", "{", r"\{"}
_CLOSES = {")", "]", "}", r"\}"}
_SEPARATORS = {",", ";", " and ", " or "}


def parts(body: str) -> Parts | None:
    """The parts of an answer in ``spelling``'s spelling, or None where it is a single thing."""
    body = _MEMBER.sub("", body, count=1) if _MEMBER.match(body) else body
    tokens: list[str] = _TOKEN.findall(body)
    depths = _depths(tokens)
    if depths is None or not tokens:
        return None
    outside = {token for token, depth in zip(tokens, depths, strict=True) if depth == 0}
    if r"\cup" in outside:
        return Parts(r"\cup", _split(tokens, depths, {r"\cup"}, 0))
    if outside & _SEPARATORS:
        return Parts("", _split(tokens, depths, _SEPARATORS, 0))
    if r"\pm" in outside and tokens.count(r"\pm") == 1:
        either = body.split(r"\pm")
        return Parts("", ("+".join(either) if either[0] else either[1], "-".join(either)))
    return _bracketed(tokens, depths)


def same(a: Parts, b: Parts, equivalent: Callable[[str, str], bool]) -> bool | None:
    """Whether two lists agree, part by part; None where their shapes cannot tell.

    Order counts between parentheses; a bare list has the order of what it is compared with.
    """
    if r"\cup" in (a.brackets, b.brackets):
        return True if a.brackets == b.brackets and _same_bag(a, b, equivalent) else None
    if a.brackets and b.brackets and a.brackets != b.brackets:
        return False
    brackets = a.brackets or b.brackets
    if len(a.items) != len(b.items):
        return False
    if brackets in ("", "{}"):
        return _same_bag(a, b, equivalent)
    if not (a.brackets and b.brackets) and brackets != "()":
        return False
    return all(equivalent(x, y) for x, y in zip(a.items, b.items, strict=True))


def _same_bag(a: Parts, b: Parts, equivalent: Callable[[str, str], bool]) -> bool:
    rest = list(b.items)
    for item in a.items:
        match = next((other for other in rest if equivalent(item, other)), None)
        if match is None:
            return False
        rest.remove(match)
    return not rest


def _bracketed(tokens: list[str], depths: list[int]) -> Parts | None:
    first, last = tokens[0], tokens[-1]
    whole = all(depth > 0 for depth in depths[1:-1]) and len(tokens) > 1
    if not whole or first not in _OPENS - {"{"} or last not in _CLOSES - {"}"}:
        return None
    items = _split(tokens[1:-1], depths[1:-1], _SEPARATORS, 1)
    if first == r"\{" and last == r"\}":
        return Parts("{}", items)
    return Parts(first + last, items) if len(items) > 1 else None


def _split(
    tokens: list[str], depths: list[int], separators: set[str], level: int
) -> tuple[str, ...]:
    items: list[list[str]] = [[]]
    for token, depth in zip(tokens, depths, strict=True):
        if depth == level and token in separators:
            items.append([])
        else:
            items[-1].append(token)
    joined = ("".join(item).strip() for item in items)
    return tuple(item for item in joined if item)


def _depths(tokens: list[str]) -> list[int] | None:
    """How deep each token lies (brackets themselves lie outside); None if unbalanced.

    Round and square brackets may close each other, as in ``[0,1)``.
    """
    depths: list[int] = []
    depth = 0
    for token in tokens:
        if token in _CLOSES or token.startswith(r"\end{"):
            depth -= 1
        if depth < 0:
            return None
        depths.append(depth)
        if token in _OPENS or token.startswith(r"\begin{"):
            depth += 1
    return None if depth else depths
