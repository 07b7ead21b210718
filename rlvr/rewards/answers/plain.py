"""An answer without what only dresses it, so that fewer shapes are left to compare."""

from __future__ import annotations

from fractions import Fraction

from rlvr.rewards.answers import units
from rlvr.rewards.answers.tree import (
    CONSTANTS,
    Call,
    Chain,
    Group,
    Matrix,
    Measured,
    Name,
    Node,
    Num,
    Words,
    is_value,
    walk,
)

MAX_ITEMS = 64


def plain(node: Node) -> Node:
    """Without what only dresses it: approximations, lone names, brackets around one thing, a sign
    that stands for two."""
    node = _without_approximation(node)
    if isinstance(node, Group) and node.brackets == "<>" and len(node.items) == 1:
        return plain(node.items[0])
    if isinstance(node, Chain) and node.relations == (r"\in",):
        inside = node.items[1]
        if isinstance(inside, Group) and inside.brackets == "{}":
            return inside
    if isinstance(node, Group) and (node.is_bare or node.brackets == "{}"):
        node = _flattened(node)
    return _both_signs(node) or _scaled(node) or _summed(node) or node


def _scaled(node: Node) -> Node | None:
    """A matrix or vector times a number, multiplied out; a transposed one, turned."""
    if isinstance(node, Call) and node.op == "neg" and isinstance(node.args[0], Matrix):
        return _scaled(Call("*", (Num(Fraction(-1)), node.args[0])))
    if not isinstance(node, Call) or len(node.args) != 2:
        return None
    left, right = node.args
    if node.op == "^" and right == Name("T"):
        rows = rows_of(left)
        return None if rows is None else Matrix(tuple(zip(*rows, strict=True)))
    if node.op == "*" and isinstance(right, Matrix) and is_value(left):
        return Matrix(tuple(tuple(Call("*", (left, e)) for e in row) for row in right.rows))
    if node.op == "*" and isinstance(left, Matrix) and is_value(right):
        return _scaled(Call("*", (right, left)))
    if node.op == "/" and isinstance(left, Matrix) and is_value(right):
        return Matrix(tuple(tuple(Call("/", (e, right)) for e in row) for row in left.rows))
    if node.op == "*" and isinstance(right, Group) and right.brackets in ("()", "<>"):
        return Group(right.brackets, tuple(Call("*", (left, item)) for item in right.items))
    return None


def _summed(node: Node) -> Node | None:
    """``2 hours and 30 minutes`` as one amount, in the last unit."""
    if not isinstance(node, Group) or node.brackets != "and":
        return None
    last = node.items[-1]
    total: Node | None = None
    for item in node.items:
        if not (isinstance(item, Measured) and isinstance(last, Measured)):
            return None
        factor = units.agree(item.unit, last.unit)
        if factor is None or (factor == 1 and item is not last):
            return None
        part = Call("*", (Num(factor), item.value))
        total = part if total is None else Call("+", (total, part))
    assert isinstance(last, Measured) and total is not None
    return Measured(total, last.unit)


def _without_approximation(node: Node) -> Node:
    r"""``x = \pi \approx 3.14`` says ``x = \pi``."""
    if not isinstance(node, Chain) or r"\approx" not in node.relations:
        return node
    end = node.relations.index(r"\approx")
    if end == 0 and isinstance(node.items[0], Name) and node.items[0].text not in CONSTANTS:
        return Chain(node.items, ("=", *node.relations[1:]))
    return Chain(node.items[: end + 1], node.relations[:end]) if end else node.items[0]


def _flattened(node: Group) -> Node:
    """Items that stand for several, such as ``\\pm 1``, become several."""
    items: list[Node] = []
    for item in node.items:
        several = _both_signs(item)
        items += several.items if several is not None else (item,)
    return Group(node.brackets, tuple(items)) if len(items) <= MAX_ITEMS else node


def _both_signs(node: Node) -> Group | None:
    if isinstance(node, Group | Matrix | Words):
        return None
    if not any(isinstance(n, Call) and n.op in ("pm", "mp") for n in walk(node)):
        return None
    upper, lower = _with_sign(node, upper=True), _with_sign(node, upper=False)
    return Group("or", (upper, lower))


def _with_sign(node: Node, *, upper: bool) -> Node:
    match node:
        case Call(op=op, args=args):
            args = tuple(_with_sign(arg, upper=upper) for arg in args)
            if op in ("pm", "mp"):
                plus = (op == "pm") == upper
                if len(args) == 1:
                    return args[0] if plus else Call("neg", args)
                return Call("+" if plus else "-", args)
            return Call(op, args)
        case Chain(items=items, relations=relations):
            return Chain(tuple(_with_sign(item, upper=upper) for item in items), relations)
        case _:
            return node


def rows_of(node: Node) -> tuple[tuple[Node, ...], ...] | None:
    if isinstance(node, Matrix):
        return node.rows
    if isinstance(node, Group) and node.brackets in ("()", "[]", "<>", ","):
        if all(isinstance(item, Group) and item.brackets in ("()", "[]") for item in node.items):
            return tuple(item.items for item in node.items if isinstance(item, Group))
        return (node.items,)
    return None
