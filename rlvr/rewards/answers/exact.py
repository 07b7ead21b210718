"""Exact values: as fractions, and modulo a prime where there are variables.

Two rational functions that agree at random points modulo a large prime are the same but for a
chance of degree / prime (Schwartz, J. ACM 27, 1980; Zippel, 1979). Powers cost a few
multiplications whatever their size, so nothing here can be made slow by what is written.
"""

from __future__ import annotations

import math
import operator
import random
from fractions import Fraction
from functools import cache
from typing import Any

from rlvr.rewards.answers.tree import Call, Name, Node, Num, variables, walk

PRIME = 2**61 + 21
"""1 modulo 4, so that -1 has a root to stand for the imaginary unit."""
POINTS = 3
MAX_BITS = 20_000
"""Fractions of more bits are not multiplied out."""
MAX_FACTORIAL = 500


class NotExact(ArithmeticError):
    """No rational number, or one that is too long to be worth writing out."""


def value(node: Node) -> Fraction | None:
    """The rational number that an expression without variables stands for; None where it is none,
    or too large."""
    try:
        return _value(node)
    except (NotExact, ZeroDivisionError):
        return None


def same_function(a: Node, b: Node) -> bool | None:
    """Whether two rational functions are equal; None where one of them is no rational function,
    or both are undefined."""
    if not (_is_rational(a) and _is_rational(b)):
        return None
    for index in range(POINTS):
        try:
            if _modulo(a, index) != _modulo(b, index):
                return False
        except (NotExact, ZeroDivisionError):
            return None
    return True


def ratio(a: Node, b: Node) -> int | None:
    """The constant factor (modulo ``PRIME``) between two rational functions; None where there is
    none; 0 never."""
    if not (_is_rational(a) and _is_rational(b)):
        return None
    try:
        factors = {
            _modulo(a, index) * _inverse(_modulo(b, index)) % PRIME for index in range(POINTS)
        }
    except (NotExact, ZeroDivisionError):
        return None
    factor = factors.pop()
    return factor if not factors and factor else None


def _value(node: Node) -> Fraction:
    match node:
        case Num():
            return node.value
        case Call(op=op, args=args):
            return _short(_apply(op, args))
        case _:
            raise NotExact


def _apply(op: str, args: tuple[Node, ...]) -> Fraction:
    if op == "^":
        return _power(_value(args[0]), _value(args[1]))
    if op == "base":
        return _in_base(args)
    if op in ("sqrt", "root"):
        return _root(_value(args[0]), _value(args[1]) if op == "root" else Fraction(2))
    values = [_value(arg) for arg in args]
    function = _FUNCTIONS.get(op)
    if function is None or len(values) != _ARITY.get(op, len(values)):
        raise NotExact
    return Fraction(function(*values))


def _natural(value: Fraction, largest: int = MAX_FACTORIAL) -> int:
    if value.denominator != 1 or not 0 <= value <= largest:
        raise NotExact
    return int(value)


def _binomial(n: Fraction, k: Fraction) -> Fraction:
    return Fraction(math.comb(_natural(n), _natural(k)))


def _percent(a: Fraction) -> Fraction:
    return a / 100


def _factorial(n: Fraction) -> int:
    return math.factorial(_natural(n))


def _divisor(*values: Fraction) -> int:
    return math.gcd(*map(_integer, values))


def _multiple(*values: Fraction) -> int:
    return math.lcm(*map(_integer, values))


def _largest(*values: Fraction) -> Fraction:
    return max(values)


def _smallest(*values: Fraction) -> Fraction:
    return min(values)


def _double_factorial(n: Fraction) -> Fraction:
    return Fraction(math.prod(range(_natural(n), 0, -2)))


def _integer(value: Fraction) -> int:
    if value.denominator != 1:
        raise NotExact
    return int(value)


def _remainder(a: Fraction, n: Fraction) -> Fraction:
    return Fraction(_integer(a) % _integer(n))


_FUNCTIONS: dict[str, Any] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "neg": operator.neg,
    "abs": abs,
    "percent": _percent,
    "factorial": _factorial,
    "double_factorial": _double_factorial,
    "binom": _binomial,
    "floor": math.floor,
    "ceil": math.ceil,
    "max": _largest,
    "min": _smallest,
    "gcd": _divisor,
    "lcm": _multiple,
    "mod": _remainder,
}
_ARITY = {"+": 2, "-": 2, "*": 2, "/": 2, "binom": 2, "mod": 2} | dict.fromkeys(
    ("neg", "abs", "percent", "factorial", "double_factorial", "floor", "ceil"), 1
)


def _short(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise NotExact
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        if exponent.denominator > 64:
            raise NotExact
        base, exponent = (
            _root(base, Fraction(exponent.denominator)),
            exponent * exponent.denominator,
        )
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if size > 1 and abs(exponent) * size > MAX_BITS:
        raise NotExact
    if abs(exponent) > MAX_BITS:
        exponent = exponent % 2  # of 1, -1 or 0 alone
        if base == 0:
            raise NotExact
    return base ** int(exponent)


def _root(value: Fraction, degree: Fraction) -> Fraction:
    if degree.denominator != 1 or not 2 <= degree <= 64 or value < 0:
        raise NotExact
    return Fraction(
        _whole_root(value.numerator, int(degree)), _whole_root(value.denominator, int(degree))
    )


def _whole_root(value: int, degree: int) -> int:
    if degree == 2:
        root = math.isqrt(value)
    else:
        if value.bit_length() > 1000:
            raise NotExact
        root = round(value ** (1 / degree)) if value < 2**1000 else 0
        low, high = max(0, root - 2), root + 2
        root = next((r for r in range(low, high + 1) if r**degree == value), -1)
    if root < 0 or root**degree != value:
        raise NotExact
    return root


def _in_base(args: tuple[Node, ...]) -> Fraction:
    digits, base = args
    if not isinstance(digits, Num) or digits.places:
        raise NotExact
    radix = _natural(_value(base), 36)
    try:
        return Fraction(int(str(_natural(digits.value, 10**60)), radix))
    except ValueError:
        raise NotExact from None


_RATIONAL = frozenset({"+", "-", "*", "/", "neg", "^", "percent"})


def _is_rational(node: Node) -> bool:
    return all(
        isinstance(part, Num)
        or (isinstance(part, Name) and part.text not in (r"\infty", "...", r"\mathbb{R}"))
        or (isinstance(part, Call) and (part.op in _RATIONAL or value(part) is not None))
        for part in walk(node)
    )


def _modulo(node: Node, index: int) -> int:
    match node:
        case Num():
            return node.value.numerator * _inverse(node.value.denominator) % PRIME
        case Name():
            return _IMAGINARY if node.text == "i" else _point(node.text, index)
        case Call(op="^", args=(base, exponent)):
            if not variables(exponent):
                power = value(exponent)
                if power is None or power.denominator != 1:
                    raise NotExact
                low = _modulo(base, index)
                return pow(low if power >= 0 else _inverse(low), abs(int(power)), PRIME)
            raise NotExact
        case Call(op=op, args=args) if op in _RATIONAL:
            values = [_modulo(arg, index) for arg in args]
            if op == "/" or op == "percent":
                below = values[1] if op == "/" else 100
                return values[0] * _inverse(below) % PRIME
            return int(_FUNCTIONS[op](*values)) % PRIME
        case _:
            exact = value(node)
            if exact is None:
                raise NotExact
            return exact.numerator * _inverse(exact.denominator) % PRIME


def _inverse(number: int) -> int:
    number %= PRIME
    if not number:
        raise ZeroDivisionError
    return pow(number, -1, PRIME)


@cache
def _point(name: str, index: int) -> int:
    return random.Random(f"{name} {index}").randrange(2, PRIME - 1)


def _root_of_minus_one() -> int:
    for candidate in range(2, 100):
        root = pow(candidate, (PRIME - 1) // 4, PRIME)
        if root * root % PRIME == PRIME - 1:
            return root
    raise AssertionError("a prime that is 1 modulo 4 has such a root")


_IMAGINARY = _root_of_minus_one()
