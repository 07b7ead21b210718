"""Values to forty digits, for what is no rational number or function.

mpmath's numbers have exponents of any size; what would take long to evaluate is refused before.
"""

from __future__ import annotations

import random
import threading
from functools import cache
from typing import Any

from rlvr.rewards.answers.tree import INFINITY, Call, Matrix, Name, Node, Num, variables

DIGITS = 40
AGREE = 15
"""Digits to which two values must agree; half of the others may be lost on the way."""
MAX_LOG = 1e6
"""Natural logarithm of the largest value."""
MAX_ANGLE = 1e15
MAX_GAMMA = 1e5


class NotNumeric(ArithmeticError):
    """No number, or one that is too large to be evaluated."""


def evaluate(node: Node, at: int | None = None) -> Any:
    """An mpmath number.

    ``at`` is the number of a point at which variables are taken: even ones are positive, odd ones
    have both signs.

    Raises:
        NotNumeric: no single number, undefined, or too large.
    """
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
    points = range(6) if names else (None,)
    met = 0
    for point in points:
        try:
            left, right = evaluate(a, point), evaluate(b, point)
        except NotNumeric:
            continue
        if names and point and point % 2 and _is_complex(left) != _is_complex(right):
            continue  # a logarithm of a square and twice the logarithm, left of zero
        if not close(left, right):
            return False
        met += 1
    return True if met >= (2 if names else 1) else None


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


def _evaluate(node: Node, at: int | None) -> Any:
    mp = _mp()
    match node:
        case Num():
            return mp.mpf(node.value.numerator) / node.value.denominator
        case Name():
            return _name(node, at)
        case Call(op=op, args=args):
            if op == "det":
                return _determinant(args[0], at)
            return _bounded(_call(op, [_evaluate(arg, at) for arg in args]))
        case _:
            raise NotNumeric("no number")


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
        case ("log" | "ln"), 1:
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


def _angle(function: str) -> Any:
    return lambda x: getattr(_mp(), function)(_small(x, MAX_ANGLE))


def _growing(function: str) -> Any:
    return lambda x: getattr(_mp(), function)(_small(x, MAX_LOG))


def _plain(function: str) -> Any:
    return lambda x: getattr(_mp(), function)(x)


_ONE: dict[str, Any] = {
    **{name: _angle(name) for name in ("sin", "cos", "tan", "cot", "sec", "csc")},
    **{name: _growing(name) for name in ("sinh", "cosh", "tanh", "coth", "sech", "csch")},
    **{name: _plain(name) for name in ("asin", "acos", "atan", "acot", "asec", "acsc", "sign")},
    **{name: _plain(name) for name in ("asinh", "acosh", "atanh", "arg", "re", "im", "floor")},
    "ceil": _plain("ceil"),
    "abs": abs,
    "factorial": lambda x: _mp().factorial(_small(x)),
    "double_factorial": lambda x: _mp().fac2(_small(x)),
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
