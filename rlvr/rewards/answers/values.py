"""Whether two expressions have the same value."""

from __future__ import annotations

from fractions import Fraction

from rlvr.rewards.answers import exact, numeric
from rlvr.rewards.answers.tree import Call, Name, Node, Num, children, is_value, variables, walk

MIN_ROUNDED_DIGITS = 6
"""Significant digits from which a decimal may stand for an exact value that it rounds."""
MANY_DIGITS = 10
"""Digits from which a decimal comes from floating point, and its last ones may be off."""


def can_be_evaluated(node: Node) -> bool:
    """Whether its numbers have values that other answers can be compared with."""
    if isinstance(node, Num | Name | Call):
        if not is_value(node) or variables(node):
            return True
        return exact.value(node) is not None or numeric.has_value(node)
    return all(map(can_be_evaluated, children(node)))


def same_value(a: Node, b: Node) -> bool:
    """Whether two expressions are equal, as they stand or as datasets write them: a per cent or
    degrees without their sign, a logarithm to base 10 without its base."""
    if _equal(a, b):
        return True
    if _is_percent(a) != _is_percent(b):
        # Datasets drop the sign of per cent.
        x, y = _without_percent(a), _without_percent(b)
        share = exact.value(x if _is_percent(a) else y)
        return share is not None and abs(share) >= 1 and _equal(x, y)
    if _is_degrees(a) != _is_degrees(b):
        return _equal(_without_degrees(a), _without_degrees(b))
    return _has_log(a) != _has_log(b) and _equal(_decimal_logs(a), _decimal_logs(b))


def _equal(a: Node, b: Node) -> bool:
    left, right = exact.value(a), exact.value(b)
    if left is not None and right is not None:
        return left == right or _rounds(a, left, b, right)
    if variables(a) != variables(b) and not _cancel(a, b):
        return False
    decided = exact.same_function(a, b)
    if decided is None:
        decided = numeric.same(a, b)
    if decided is None or decided:
        return bool(decided)
    return _rounds(a, left, b, right)


def _cancel(a: Node, b: Node) -> bool:
    """Whether names may drop out, as in ``x - x``."""
    return len(list(walk(a))) + len(list(walk(b))) < 200


def _rounds(a: Node, left: Fraction | None, b: Node, right: Fraction | None) -> bool:
    """Whether one is a decimal that rounds, or cuts, the other at enough digits."""
    x, y = _decimal(a), _decimal(b)
    if (x is None) == (y is None):
        return False
    rounded, other = (x, right) if x is not None else (y, left)
    node = b if x is not None else a
    assert rounded is not None and rounded.places is not None
    if other is None:
        try:
            value = numeric.evaluate(node)
        except numeric.NotNumeric:
            return False
        if value.imag:
            return False
        other = Fraction(str(value.real))
    elif other.denominator == 1:
        return False
    if rounded.digits < MIN_ROUNDED_DIGITS:
        return False
    off = abs(rounded.value - other) * 10**rounded.places
    if off <= Fraction(1, 2) or (off < 1 and abs(rounded.value) < abs(other)):
        return True
    return rounded.digits >= MANY_DIGITS and off * 10**MANY_DIGITS <= 10**rounded.digits


def _decimal(node: Node) -> Num | None:
    if isinstance(node, Call) and node.op == "neg":
        inner = _decimal(node.args[0])
        return None if inner is None else Num(-inner.value, inner.places, inner.digits)
    if isinstance(node, Call) and node.op == "percent":
        inner = _decimal(node.args[0])
        if inner is None or inner.places is None:
            return None
        return Num(inner.value / 100, inner.places + 2, inner.digits)
    return node if isinstance(node, Num) and node.places is not None else None


def _is_percent(node: Node) -> bool:
    return isinstance(node, Call) and node.op == "percent"


def _without_percent(node: Node) -> Node:
    return node.args[0] if isinstance(node, Call) and node.op == "percent" else node


def _is_degrees(node: Node) -> bool:
    return any(isinstance(n, Call) and n.op == "degree" for n in walk(node))


def _without_degrees(node: Node) -> Node:
    if isinstance(node, Call) and node.op == "degree":
        return node.args[0]
    return node


def _has_log(node: Node) -> bool:
    return any(isinstance(n, Call) and n.op == "log" and len(n.args) == 1 for n in walk(node))


def _decimal_logs(node: Node) -> Node:
    """A logarithm whose base is not said, to base 10."""
    if isinstance(node, Call):
        args = tuple(map(_decimal_logs, node.args))
        return Call("lg" if node.op == "log" and len(args) == 1 else node.op, args)
    return node
