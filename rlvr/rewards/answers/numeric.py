"""Values to forty digits, for what is no rational number or function.

mpmath's numbers have exponents of any size; what would take long to evaluate is refused before.
"""

from __future__ import annotations

import math
import random
import threading
from functools import cache
from typing import Any

from rlvr.rewards.answers.tree import INFINITY, Call, Matrix, Name, Node, Num, variables, walk
from rlvr.rewards.answers.vocabulary import words

DIGITS = 40
AGREE = 15
"""Digits to which two values must agree; half of the others may be lost on the way."""
MAX_LOG = 1e6
"""Natural logarithm of the largest value."""
MAX_ANGLE = 1e15
MAX_GAMMA = 1e5
MAX_TERMS = 300
MAX_OPERATIONS = 4000
SUMS = frozenset({"sum", "prod"})
_STEPS = SUMS | {"floor", "ceil", "mod", "binom", "factorial", "double_factorial", "gcd", "lcm"}
"""What is about whole numbers, or jumps between them."""
_WHOLE = 100
"""From this point on, names that stand for whole numbers by custom do."""
_WHOLE_NAMES = frozenset("klmnpqKLMN")

Bound = dict[str, Any]
"""Values of the indices of sums."""


class NotNumeric(ArithmeticError):
    """No number, or one that is too large to be evaluated."""


def evaluate(node: Node, at: int | None = None) -> Any:
    """An mpmath number.

    ``at`` is the number of a point at which variables are taken: even ones are positive, odd ones
    have both signs.

    Raises:
        NotNumeric: no single number, undefined, or too large.
    """
    _contexts.operations = 0
    try:
        found = _evaluate(node, at)
    except (ArithmeticError, ValueError, NotImplementedError, TypeError) as e:
        raise NotNumeric(str(e)) from e
    mp = _mp()
    if not mp.isfinite(found):
        raise NotNumeric("infinite")
    return found


def has_value(node: Node) -> bool:
    """Whether ``evaluate`` finds one, infinity being one."""
    if node in (INFINITY, Call("neg", (INFINITY,)), Name("...")):
        return True
    try:
        evaluate(node)
    except NotNumeric:
        return False
    return True


def same(a: Node, b: Node) -> bool | None:
    """Whether two expressions have the same value, wherever both have one; None where they have
    none together."""
    names = variables(a) | variables(b)
    steps = any(isinstance(n, Call) and n.op in _STEPS for x in (a, b) for n in walk(x))
    sums = any(isinstance(n, Call) and n.op in SUMS for x in (a, b) for n in walk(x))
    whole = range(_WHOLE, _WHOLE + (4 if sums else 16))
    points = (None,) if not names else whole if steps else range(6)
    met = 0
    for point in points:
        try:
            left, right = evaluate(a, point), evaluate(b, point)
        except NotNumeric:
            continue
        if point is not None and point % 2 and (_is_complex(left) or _is_complex(right)):
            continue  # left of zero, logarithms and roots have branches that answers ignore
        if not close(left, right) or (not names and _lost(left, right) and not _vanishes(a, b)):
            return False
        met += 1
    return True if met >= (2 if names else 1) else None


def _lost(left: Any, right: Any) -> bool:
    """Whether the two values are too small to tell at these digits."""
    return max(abs(left), abs(right)) < _mp().mpf(10) ** (AGREE - DIGITS)


def _vanishes(a: Node, b: Node) -> bool:
    """Whether a difference is zero to three times the digits."""
    mp = _mp()
    with mp.workdps(4 * DIGITS):
        left, right = evaluate(a), evaluate(b)
        size = max(abs(left), abs(right))
        return abs(left - right) <= max(size * mp.mpf(10) ** -AGREE, mp.mpf(10) ** (-3 * DIGITS))


def factor(a: Node, b: Node) -> Any | None:
    """The constant ratio of two expressions; None where it is not constant."""
    ratios: list[Any] = []
    for point in range(6):
        try:
            left, right = evaluate(a, point), evaluate(b, point)
        except NotNumeric:
            continue
        if right == 0 or left == 0:
            continue
        ratios.append(left / right)
    if len(ratios) < 2 or not all(close(ratios[0], ratio) for ratio in ratios[1:]):
        return None
    return ratios[0]


def close(a: Any, b: Any) -> bool:
    """Whether two values agree to ``AGREE`` digits; values below all digits are both zero."""
    mp = _mp()
    size = max(abs(a), abs(b))
    if size < mp.mpf(10) ** (AGREE - DIGITS):
        # What is left of a difference that vanishes, unless both are tiny by themselves.
        return size == 0 or abs(a - b) <= size * mp.mpf(10) ** -AGREE or min(abs(a), abs(b)) == 0
    return abs(a - b) <= size * mp.mpf(10) ** -AGREE


def _evaluate(node: Node, at: int | None, bound: Bound | None = None) -> Any:
    mp = _mp()
    _contexts.operations += 1
    if _contexts.operations > MAX_OPERATIONS:
        raise NotNumeric("too much work")
    match node:
        case Num():
            return mp.mpf(node.value.numerator) / node.value.denominator
        case Name():
            return bound[node.text] if bound and node.text in bound else _name(node, at)
        case Call(op=op, args=args):
            if op == "det":
                return _determinant(args[0], at)
            if op in SUMS:
                return _sum(op, args, at, bound or {})
            return _bounded(_call(op, [_evaluate(arg, at, bound) for arg in args]))
        case _:
            raise NotNumeric("no number")


def _sum(op: str, args: tuple[Node, ...], at: int | None, bound: Bound) -> Any:
    """Term by term: ``args`` are the term, its index, and the first and last value of that."""
    term, index, first, last = args
    start, end = (_evaluate(limit, at, bound) for limit in (first, last))
    if not isinstance(index, Name) or start != int(start) or end != int(end):
        raise NotNumeric("a sum without whole limits")
    if end - start > MAX_TERMS or len(bound) > 1:
        raise NotNumeric("too many terms")
    total = _mp().mpf(0 if op == "sum" else 1)
    for k in range(int(start), int(end) + 1):
        value = _evaluate(term, at, {**bound, index.text: _mp().mpf(k)})
        total = _bounded(total + value if op == "sum" else total * value)
    return total


def _name(node: Name, at: int | None) -> Any:
    mp = _mp()
    match node.text:
        case r"\pi":
            return +mp.pi
        case "e":
            return +mp.e
        case "i":
            return mp.mpc(0, 1)
        case _ if at is None or node in (INFINITY, Name("...")) or "mathbb" in node.text:
            raise NotNumeric(f"{node.text} has no value")
        case _:
            return mp.mpf(_point(node.text, at))


@cache
def _point(name: str, at: int) -> str:
    chance = random.Random(f"{name} {at}")
    if at >= _WHOLE and name[0] in _WHOLE_NAMES:
        return str(chance.randrange(2, 6 + (at - _WHOLE) * 2))
    size = chance.uniform(0.2, 0.95) if at % 4 == 0 else chance.uniform(1.05, 3.5)
    return repr(-size if at % 2 and chance.random() < 0.7 else size)


def _bounded(value: Any) -> Any:
    mp = _mp()
    if not mp.isfinite(value):
        raise NotNumeric("infinite")
    if value != 0 and abs(mp.mag(value)) > 1.45 * MAX_LOG:
        raise NotNumeric("too large")
    return value


def _call(op: str, values: list[Any]) -> Any:
    mp = _mp()
    x = values[0]
    match op, len(values):
        case "+", 2:
            return x + values[1]
        case "-", 2:
            return x - values[1]
        case "*", 2:
            return x * values[1]
        case "/", 2:
            return x / values[1]
        case "^", 2:
            return _power(x, values[1])
        case "neg", 1:
            return -x
        case "percent", 1:
            return x / 100
        case "degree" | "deg", 1:
            return x * mp.pi / 180
        case "sqrt", 1:
            return mp.sqrt(x)
        case "root", 2:
            return _root(x, values[1])
        case "exp", 1:
            return _power(+mp.e, x)
        case "log" | "ln", 2:
            return mp.log(x) / mp.log(values[1])
        case (("log" | "ln"), 1):
            return mp.log(x)
        case "lg", 1:
            return mp.log(x) / mp.log(10)
        case "max", _:
            return max(values)
        case "min", _:
            return min(values)
        case "mod", 2:
            return mp.fmod(x, values[1])
        case "binom", 2:
            return mp.binomial(_small(x), _small(values[1]))
        case _ if len(values) == 1 and op in _ONE:
            return _ONE[op](x)
        case _:
            raise NotNumeric(f"{op} of {len(values)}")


def _power(x: Any, y: Any) -> Any:
    mp = _mp()
    if x == 0:
        if mp.re(y) > 0:
            return mp.mpf(0)
        raise NotNumeric("a power of zero")
    if abs(y) > MAX_LOG * 1e3 or abs(y * mp.log(x)) > MAX_LOG:
        raise NotNumeric("too large")
    return mp.power(x, y)


def _root(x: Any, degree: Any) -> Any:
    mp = _mp()
    if not _is_complex(x) and x < 0 and degree == int(degree) and int(degree) % 2:
        return -mp.power(-x, 1 / degree)  # the real one
    return _power(x, 1 / degree)


def _small(x: Any, largest: float = MAX_GAMMA) -> Any:
    if abs(x) > largest:
        raise NotNumeric("too large")
    return x


def _mpmath(function: str, largest: float = math.inf) -> Any:
    def call(x: Any) -> Any:
        return getattr(_mp(), function)(_small(x, largest))

    return call


_ONE: dict[str, Any] = {
    **{name: _mpmath(name, MAX_ANGLE) for name in words("sin cos tan cot sec csc")},
    **{name: _mpmath(name, MAX_LOG) for name in words("sinh cosh tanh coth sech csch")},
    **{
        name: _mpmath(name)
        for name in words(
            "asin acos atan acot asec acsc asinh acosh atanh arg re im sign floor ceil"
        )
    },
    "abs": abs,
    "factorial": _mpmath("factorial", MAX_GAMMA),
    "double_factorial": _mpmath("fac2", MAX_GAMMA),
}


def _determinant(matrix: Node, at: int | None) -> Any:
    if not isinstance(matrix, Matrix) or len(matrix.rows) != len(matrix.rows[0]):
        raise NotNumeric("no square matrix")
    return _mp().det(_mp().matrix([[_evaluate(e, at) for e in row] for row in matrix.rows]))


def _is_complex(value: Any) -> bool:
    mp = _mp()
    return abs(mp.im(value)) > abs(value) * mp.mpf(10) ** -AGREE


def _mp() -> Any:
    """A context of this thread's own: some functions change its precision for a while."""
    context = getattr(_contexts, "mp", None)
    if context is None:
        # Most answers are settled without it.
        import mpmath  # noqa: PLC0415

        context = _contexts.mp = mpmath.mp.clone()
        context.dps = DIGITS
    return context


_contexts = threading.local()
