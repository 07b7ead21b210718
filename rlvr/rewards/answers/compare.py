"""Whether two answers that have been read mean the same."""

from __future__ import annotations

from rlvr.rewards.answers import exact, numeric, regions, units
from rlvr.rewards.answers.plain import MAX_ITEMS, plain, rows_of
from rlvr.rewards.answers.tree import (
    EMPTY,
    Call,
    Chain,
    Group,
    Matrix,
    Measured,
    Name,
    Node,
    Num,
    is_value,
    variables,
)
from rlvr.rewards.answers.values import same_value


def same(a: Node, b: Node) -> bool:
    """Whether two answers mean the same; the order of the two does not matter."""
    if a == b:
        return not isinstance(a, Name) or a.text != "..."
    if isinstance(a, Measured) or isinstance(b, Measured):
        return _same_measured(a, b)
    a, b = plain(a), plain(b)
    if a == b:
        return True
    if isinstance(a, Measured) or isinstance(b, Measured):
        return _same_measured(a, b)
    for special in (_same_matrix, _same_region, _same_relation, _same_group):
        decided = special(a, b)
        if decided is not None:
            return decided
    return is_value(a) and is_value(b) and same_value(a, b)


def _same_measured(a: Node, b: Node) -> bool:
    left, right = _measured(a), _measured(b)
    factor = units.agree(left.unit, right.unit)
    if factor is None:
        return False
    if factor == 1:
        return same(left.value, right.value)
    return same(Call("*", (Num(factor), left.value)), right.value)


def _measured(node: Node) -> Measured:
    if isinstance(node, Call) and node.op in ("degree", "percent"):
        return Measured(node.args[0], node.op)
    return node if isinstance(node, Measured) else Measured(node, "")


def _same_matrix(a: Node, b: Node) -> bool | None:
    left, right = rows_of(a), rows_of(b)
    if not (isinstance(a, Matrix) or isinstance(b, Matrix)):
        return None
    if left is None or right is None:
        if isinstance(a, Chain) or isinstance(b, Chain):
            return None
        single = a if isinstance(a, Matrix) else b
        assert isinstance(single, Matrix)
        if len(single.rows) == len(single.rows[0]) == 1:
            return same(single.rows[0][0], b if single is a else a)
        return False
    if not (isinstance(a, Matrix) and isinstance(b, Matrix)):
        # A list has no shape of its own: it may be a row as well as a column.
        left, right = _as_vector(left), _as_vector(right)
    return len(left) == len(right) and all(
        len(x) == len(y) and all(same(p, q) for p, q in zip(x, y, strict=True))
        for x, y in zip(left, right, strict=True)
    )


def _as_vector(rows: tuple[tuple[Node, ...], ...]) -> tuple[tuple[Node, ...], ...]:
    return (tuple(row[0] for row in rows),) if all(len(row) == 1 for row in rows) else rows


def _same_region(a: Node, b: Node) -> bool | None:
    if not (regions.names_region(a) or regions.names_region(b)):
        return None
    left, right = regions.region(a), regions.region(b)
    if left is None or right is None:
        return None
    if isinstance(a, Chain) and isinstance(b, Chain) and left.variable != right.variable:
        return None  # a < b and b > a
    return regions.same(left, right, same)


def _same_relation(a: Node, b: Node) -> bool | None:
    a, b = _without_names(a, b), _without_names(b, a)
    if isinstance(a, Chain) and isinstance(b, Chain):
        return _same_chain(a, b)
    if isinstance(a, Chain) or isinstance(b, Chain):
        chain, other = (a, b) if isinstance(a, Chain) else (b, a)
        assert isinstance(chain, Chain)
        said = _said(chain)
        return same(said, other) if said is not None else False
    return None


def _said(chain: Chain) -> Node | None:
    """What an equation says something to be: the 5 of ``x = 5``, of ``5 = x``, of ``a + b = 5``;
    all of ``x = 2 + 3 = 5`` must agree."""
    if set(chain.relations) != {"="}:
        return None
    first, *rest = chain.items
    if isinstance(first, Group) and first.brackets == "()" and _are_names(first.items):
        return rest[0] if len(rest) == 1 else None
    if not variables(first):
        if len(rest) == 1 and isinstance(rest[0], Name) and variables(rest[0]):
            return first
        return first if all(same(first, other) for other in rest) else None
    if _is_sum_with_number(first):
        return None  # x + 1 = 3 says something else to be 3 than x
    head = first.text if isinstance(first, Name) else None
    is_head = head is not None or _is_function_head(first)
    last = rest[-1]
    if variables(last) and (not is_head or (head is not None and head in variables(last))):
        return None
    if any(not same(other, last) for other in rest[:-1]):
        return None
    return last


def _is_sum_with_number(node: Node) -> bool:
    if not isinstance(node, Call) or _is_function_head(node):
        return False
    if node.op == "^":
        return _is_sum_with_number(node.args[0])
    return any(isinstance(arg, Num) or _is_sum_with_number(arg) for arg in node.args)


def _is_function_head(node: Node) -> bool:
    r"""``f(x)``, ``f^{-1}(x)``, ``P_n``."""
    if isinstance(node, Call) and node.op == "*":
        head = node.args[0]
        inverse = isinstance(head, Call) and head.op == "^" and isinstance(head.args[0], Name)
        return isinstance(head, Name) or inverse
    return False


def _are_names(items: tuple[Node, ...]) -> bool:
    return all(isinstance(item, Name) and variables(item) for item in items)


def _same_chain(a: Chain, b: Chain) -> bool:
    if a.relations == b.relations == ("=",):
        return _same_equation(a, b)
    if len(a.relations) == len(b.relations) == 1:
        return _same_inequality(a, b)
    if set(a.relations) == set(b.relations) == {"="}:
        x, y = _said(a), _said(b)
        return x is not None and y is not None and same(a.items[0], b.items[0]) and same(x, y)
    return any(
        a.relations == c.relations
        and len(a.items) == len(c.items)
        and all(same(x, y) for x, y in zip(a.items, c.items, strict=True))
        for c in (b, _reversed(b))
    )


_BACKWARD = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}


def _reversed(chain: Chain) -> Chain:
    back = tuple(_BACKWARD.get(relation, relation) for relation in reversed(chain.relations))
    return Chain(tuple(reversed(chain.items)), back)


def _same_equation(a: Chain, b: Chain) -> bool:
    (left, right), (up, down) = a.items, b.items
    if all(map(is_value, (left, right, up, down))):
        if variables(left) | variables(right) != variables(up) | variables(down):
            return _same_definition(left, right, up, down)
        over, under = Call("-", (left, right)), Call("-", (up, down))
        if exact.ratio(over, under) is not None or numeric.factor(over, under) is not None:
            return True
        return same(left, up) and same(right, down)
    return (same(left, up) and same(right, down)) or (same(left, down) and same(right, up))


def _same_definition(left: Node, right: Node, up: Node, down: Node) -> bool:
    """``f(x) = x`` as ``f(t) = t`` and, beside ``y = x``, without its head."""
    if _is_function_head(left) and _is_function_head(up):
        (f, x), (g, t) = _head(left), _head(up)
        return f == g and same(_renamed(right, x, t), down)
    heads = (left == Name("y") and _is_function_head(up)) or (
        up == Name("y") and _is_function_head(left)
    )
    return heads and same(right, down)


def _head(node: Node) -> tuple[Node, Node]:
    assert isinstance(node, Call)
    return node.args[0], node.args[1]


def _renamed(node: Node, old: Node, new: Node) -> Node:
    if node == old:
        return new
    if isinstance(node, Call):
        return Call(node.op, tuple(_renamed(arg, old, new) for arg in node.args))
    return node


def _same_inequality(a: Chain, b: Chain) -> bool:
    strict = {"<": ("<", 1), ">": ("<", -1), r"\le": (r"\le", 1), r"\ge": (r"\le", -1)}
    (left, right), (up, down) = a.items, b.items
    x, y = strict.get(a.relations[0]), strict.get(b.relations[0])
    if x is None or y is None:
        same_way = a.relations == b.relations and same(left, up) and same(right, down)
        turned = a.relations == b.relations == (r"\ne",)
        return same_way or (turned and same(left, down) and same(right, up))
    if x[0] != y[0] or not all(map(is_value, (left, right, up, down))):
        return False
    factor = numeric.factor(Call("-", (left, right)), Call("-", (up, down)))
    return factor is not None and not factor.imag and factor.real * x[1] * y[1] > 0


def _without_names(node: Node, other: Node) -> Node:
    """``x = 1, x = 2`` as ``1, 2``; ``x = 1, y = 2`` as ``(1, 2)`` beside a tuple."""
    if not isinstance(node, Group) or not node.is_bare or len(node.items) < 2:
        return node
    named = [item for item in node.items if _names_value(item)]
    if len(named) != len(node.items):
        # x = 1 or 2
        first = node.items[0]
        if (
            len(named) == 1
            and named[0] is first
            and not any(isinstance(item, Chain) for item in node.items[1:])
        ):
            assert isinstance(first, Chain)
            return Group(node.brackets, (first.items[1], *node.items[1:]))
        return node
    names = [item.items[0] for item in named if isinstance(item, Chain)]
    values = tuple(item.items[-1] for item in named if isinstance(item, Chain))
    if len(set(names)) == 1 or _is_numbered(names):
        return Group(node.brackets, values)
    if len(set(names)) == len(names) and not _has_chains(other):
        if isinstance(other, Group) and not other.is_bare:
            by_name = sorted(zip(map(str, names), values, strict=True), key=lambda pair: pair[0])
            return Group("()", tuple(value for _, value in by_name))
        return Group(node.brackets, values)
    return node


def _names_value(node: Node) -> bool:
    return (
        isinstance(node, Chain)
        and set(node.relations) == {"="}
        and isinstance(node.items[0], Name)
        and _said(node) is not None
    )


def _is_numbered(names: list[Node]) -> bool:
    """``x_1, x_2``: two roots, rather than two unknowns."""
    heads = {n.text.partition("_")[0] for n in names if isinstance(n, Name) and "_" in n.text}
    return len(heads) == 1 and all(isinstance(n, Name) and "_" in n.text for n in names)


def _has_chains(node: Node) -> bool:
    return isinstance(node, Group) and any(isinstance(item, Chain) for item in node.items)


def _same_group(a: Node, b: Node) -> bool | None:
    a, b = _without_names(a, b), _without_names(b, a)
    if not (isinstance(a, Group) and isinstance(b, Group)):
        if not (isinstance(a, Group) or isinstance(b, Group)):
            return None
        several, single = (a, b) if isinstance(a, Group) else (b, a)
        assert isinstance(several, Group)
        alone = several.brackets == "{}" and len(several.items) == 1 and single != EMPTY
        return alone and same(several.items[0], single)
    if max(len(a.items), len(b.items)) > MAX_ITEMS:
        return False
    left, right = a.brackets, b.brackets
    if left == right == "::" and not (_is_time(a) or _is_time(b)):
        return _proportional(a.items, b.items)
    if left == right == "{}":
        return _covers(a.items, b.items) and _covers(b.items, a.items)
    if a.is_bare or b.is_bare:
        holds = right if a.is_bare else left
        if (a.is_bare and b.is_bare) or holds == "{}":
            return _same_bag(a.items, b.items)
        if holds not in ("()", "<>") and not (holds == "[]" and len(a.items) > 2):
            return False
    elif left != right and {left, right} - {"()", "<>"}:
        return False
    return len(a.items) == len(b.items) and all(
        same(x, y) for x, y in zip(a.items, b.items, strict=True)
    )


def _is_time(node: Group) -> bool:
    return all(
        isinstance(item, Measured) or (isinstance(item, Num) and 10 <= item.value < 60)
        for item in node.items[1:]
    )


def _proportional(a: tuple[Node, ...], b: tuple[Node, ...]) -> bool:
    return len(a) == len(b) and all(
        same(Call("*", (x, b[0])), Call("*", (y, a[0]))) for x, y in zip(a, b, strict=True)
    )


def _covers(a: tuple[Node, ...], b: tuple[Node, ...]) -> bool:
    return all(any(same(x, y) for y in b) for x in a)


def _same_bag(a: tuple[Node, ...], b: tuple[Node, ...]) -> bool:
    if len(a) != len(b):
        return False
    rest = list(b)
    for item in a:
        match = next((other for other in rest if same(item, other)), None)
        if match is None:
            return False
        rest.remove(match)
    return True
