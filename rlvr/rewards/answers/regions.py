"""Sets of real numbers: intervals, unions, inequalities in one variable."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rlvr.rewards.answers import numeric
from rlvr.rewards.answers.tree import (
    EMPTY,
    INFINITY,
    REALS,
    Call,
    Chain,
    Group,
    Name,
    Node,
    variables,
)

Same = Callable[[Node, Node], bool]
_MINUS_INFINITY = Call("neg", (INFINITY,))
_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne", "=": "="}
_MAX_PIECES = 40


class Piece(NamedTuple):
    """An interval; closed where its end belongs to it."""

    low: Node
    low_closed: bool
    high: Node
    high_closed: bool


class Region(NamedTuple):
    """Pieces from left to right that do not touch, and the variable they are about, if named."""

    pieces: tuple[Piece, ...]
    variable: str


class NoRegion(ValueError):
    """Not a set of real numbers that is understood here."""


def region(node: Node) -> Region | None:
    """The set of numbers that an answer stands for, or None."""
    try:
        pieces, variable = _region(node)
        return Region(_merged(pieces), variable)
    except NoRegion:
        return None


def same(a: Region, b: Region, equal: Same) -> bool:
    """Whether two regions are one."""
    if a.variable and b.variable and a.variable != b.variable:
        return False
    return len(a.pieces) == len(b.pieces) and all(
        x.low_closed == y.low_closed
        and x.high_closed == y.high_closed
        and equal(x.low, y.low)
        and equal(x.high, y.high)
        for x, y in zip(a.pieces, b.pieces, strict=True)
    )


def names_region(node: Node) -> bool:
    """Whether it can only be a set of numbers, while ``(1, 2)`` may be a point."""
    match node:
        case Chain(relations=relations):
            return not {"="}.issuperset(relations) and r"\to" not in relations
        case Call(op=op):
            return op in ("union", "intersection", "without")
        case Name():
            return node in (REALS, EMPTY)
        case Group(brackets=brackets, items=items):
            if len(items) == 2 and brackets in ("[)", "(]"):
                return True
            return node.is_bare and any(names_region(item) for item in items)
        case _:
            return False


def _region(node: Node) -> tuple[list[Piece], str]:
    match node:
        case Name() if node == REALS:
            return [Piece(_MINUS_INFINITY, False, INFINITY, False)], ""
        case Name() if node == EMPTY:
            return [], ""
        case Group(brackets="{}", items=items):
            return [Piece(item, True, item, True) for item in items], ""
        case Group(brackets=brackets, items=(low, high)) if brackets in ("()", "[)", "(]", "[]"):
            return [_interval(low, brackets[0] == "[", high, brackets[1] == "]")], ""
        case Group(brackets=brackets, items=items) if node.is_bare:
            return _joined([_region(item) for item in items], brackets)
        case Call(op="union", args=args):
            return _joined([_region(arg) for arg in args], "or")
        case Call(op="intersection", args=args):
            return _joined([_region(arg) for arg in args], "and")
        case Call(op="without", args=(whole, Group(brackets="{}", items=points))):
            pieces, variable = _region(whole)
            for point in points:
                pieces = _cut(pieces, point)
            return pieces, variable
        case Chain():
            return _chain(node)
        case _:
            raise NoRegion


def _chain(node: Chain) -> tuple[list[Piece], str]:
    items, relations = node.items, node.relations
    if relations == (r"\in",):
        if not isinstance(items[0], Name):
            raise NoRegion
        return _region(items[1])[0], items[0].text
    if not all(relation in _FLIPPED for relation in relations):
        raise NoRegion
    if len(relations) == 1:
        left, right = items
        if isinstance(left, Call) and left.op == "abs" and not variables(right):
            return _around(left.args[0], relations[0], right)
        if isinstance(right, Call) and right.op == "abs" and not variables(left):
            return _around(right.args[0], _FLIPPED[relations[0]], left)
        if _is_variable(left) and not _mentions(right, left):
            return _bound(relations[0], right), _name(left)
        if _is_variable(right) and not _mentions(left, right):
            return _bound(_FLIPPED[relations[0]], left), _name(right)
    if len(relations) == 2 and _is_variable(items[1]):
        below = _bound(_FLIPPED[relations[0]], items[0])
        above = _bound(relations[1], items[2])
        return _intersection(below, above), _name(items[1])
    raise NoRegion


def _around(inside: Node, relation: str, radius: Node) -> tuple[list[Piece], str]:
    """``|x - c| < r`` and its like."""
    low, high = Call("neg", (radius,)), radius
    if isinstance(inside, Call) and inside.op in ("-", "+") and len(inside.args) == 2:
        op, (inside, shift) = inside.op, inside.args
        if variables(shift):
            raise NoRegion
        back = "+" if op == "-" else "-"
        low, high = Call(back, (low, shift)), Call(back, (high, shift))
    if not _is_variable(inside):
        raise NoRegion
    below, above = _bound(_FLIPPED[relation], low), _bound(relation, high)
    outside = relation in (">", r"\ge", r"\ne")
    return (below + above if outside else _intersection(below, above)), _name(inside)


def _is_variable(node: Node) -> bool:
    """A name, or a function of one such as ``f(x)``; also any product of names."""
    if isinstance(node, Name):
        return node not in (INFINITY, REALS, EMPTY) and bool(variables(node))
    return isinstance(node, Call) and node.op == "*" and all(map(_is_variable, node.args))


def _name(node: Node) -> str:
    return node.text if isinstance(node, Name) else repr(node)


def _mentions(node: Node, variable: Node) -> bool:
    return bool(variables(node) & variables(variable))


def _bound(relation: str, end: Node) -> list[Piece]:
    match relation:
        case ">" | r"\ge":
            return [Piece(end, relation == r"\ge", INFINITY, False)]
        case "<" | r"\le":
            return [Piece(_MINUS_INFINITY, False, end, relation == r"\le")]
        case r"\ne":
            whole = Piece(_MINUS_INFINITY, False, INFINITY, False)
            return _cut([whole], end)
        case "=":
            return [Piece(end, True, end, True)]
        case _:
            raise NoRegion


def _interval(low: Node, low_closed: bool, high: Node, high_closed: bool) -> Piece:
    return Piece(low, low_closed and not _infinite(low), high, high_closed and not _infinite(high))


def _infinite(node: Node) -> bool:
    return INFINITY in (node, *(node.args if isinstance(node, Call) and node.op == "neg" else ()))


def _joined(parts: list[tuple[list[Piece], str]], how: str) -> tuple[list[Piece], str]:
    named = {variable for _, variable in parts if variable}
    if len(named) > 1:
        raise NoRegion
    pieces = parts[0][0]
    for more, _ in parts[1:]:
        without_point = len(pieces) > 1 or len(more) > 1
        if how == "or":
            pieces = pieces + more
        else:
            both = _intersection(pieces, more)
            pieces = both if both or without_point or how == "and" else pieces + more
        if len(pieces) > _MAX_PIECES:
            raise NoRegion
    return pieces, named.pop() if named else ""


def _place(node: Node) -> float:
    if node == INFINITY:
        return float("inf")
    if _infinite(node):
        return float("-inf")
    try:
        found = numeric.evaluate(node)
    except numeric.NotNumeric:
        raise NoRegion from None
    if found.imag:
        raise NoRegion
    return float(found)


def _cut(pieces: list[Piece], point: Node) -> list[Piece]:
    at = _place(point)
    cut: list[Piece] = []
    for piece in pieces:
        low, high = _place(piece.low), _place(piece.high)
        if low < at < high:
            cut.append(piece._replace(high=point, high_closed=False))
            cut.append(piece._replace(low=point, low_closed=False))
        elif at == low and at != high:
            cut.append(piece._replace(low_closed=False))
        elif at == high and at != low:
            cut.append(piece._replace(high_closed=False))
        elif not at == low == high:
            cut.append(piece)
    return cut


def _intersection(a: list[Piece], b: list[Piece]) -> list[Piece]:
    if len(a) * len(b) > _MAX_PIECES:
        raise NoRegion
    found: list[Piece] = []
    for x in a:
        for y in b:
            low, low_closed = max(
                ((x.low, x.low_closed), (y.low, y.low_closed)),
                key=lambda end: (_place(end[0]), not end[1]),
            )
            high, high_closed = min(
                ((x.high, x.high_closed), (y.high, y.high_closed)),
                key=lambda end: (_place(end[0]), end[1]),
            )
            left, right = _place(low), _place(high)
            if left < right or (left == right and low_closed and high_closed):
                found.append(Piece(low, low_closed, high, high_closed))
    return found


def _merged(pieces: list[Piece]) -> tuple[Piece, ...]:
    """Sorted, and joined where they touch; as they stand where an end is no number."""
    if len(pieces) < 2:
        return tuple(pieces)
    if len(pieces) > _MAX_PIECES:
        raise NoRegion
    try:
        ordered = sorted(pieces, key=lambda piece: (_place(piece.low), not piece.low_closed))
    except NoRegion:
        return tuple(pieces)
    merged = [ordered[0]]
    for piece in ordered[1:]:
        last = merged[-1]
        start, end = _place(piece.low), _place(last.high)
        if start < end or (start == end and (piece.low_closed or last.high_closed)):
            if (_place(piece.high), piece.high_closed) > (end, last.high_closed):
                merged[-1] = last._replace(high=piece.high, high_closed=piece.high_closed)
        else:
            merged.append(piece)
    return tuple(merged)
