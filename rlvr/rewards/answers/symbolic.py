"""The last rung: expressions that only computer algebra can compare."""

from __future__ import annotations

import logging
import math
import re
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any, NamedTuple, cast

MAX_CHARACTERS = 400
"""Longer expressions are not parsed."""
MAX_DIGITS = 3000.0
"""Expressions whose value may have more digits than this are not evaluated."""
MAX_POWER_OF_SUM = 30.0
"""Larger powers of sums are not expanded."""


_RELATION = re.compile(r"[<>=]|\\(?:le|ge|ne|in|emptyset|infty|mathbb)(?![A-Za-z])")


class TooLarge(ValueError):
    """An expression that would take more time or memory to evaluate than it is worth."""


class _Algebra(NamedTuple):
    parse: Any
    verify: Any
    config: Any


@lru_cache(maxsize=256)
def parse(latex: str) -> Any | None:
    """The expression that LaTeX stands for, or None where it cannot be read.

    Raises:
        TooLarge: it is too long, or its value is (``9^{9^{9}}``).
    """
    if len(latex) > MAX_CHARACTERS:
        raise TooLarge(f"{len(latex)} characters, more than {MAX_CHARACTERS}")
    algebra = _algebra()
    line = " ".join(latex.split())
    found: list[Any] = algebra.parse(
        f"${line}$", algebra.config, fallback_mode="no_fallback", parsing_timeout=None
    )
    if not found:
        return None
    digits = _digits(found[0])
    if not digits <= MAX_DIGITS:
        raise TooLarge(f"a value of about {digits:.3g} digits, more than {MAX_DIGITS:.0f}")
    return _with_one_i(found[0])


def same(a: Any, b: Any) -> bool:
    """Whether math-verify calls two expressions equal, in either order.

    Its comparison is not symmetric and may fail in one order alone; that order then has no say.

    Raises:
        Exception: what sympy raised, where both orders fail.
    """
    failures: list[Exception] = []
    for gold, answer in ((a, b), (b, a)):
        try:
            if _algebra().verify(gold, answer, timeout_seconds=None, raise_on_error=True):
                return True
        except (ArithmeticError, AttributeError, NotImplementedError, TypeError, ValueError) as e:
            failures.append(e)
    if len(failures) == 2:
        raise failures[0]
    return False


def value(expression: Any) -> Fraction | None:
    """An approximation to 50 digits, or None where it is not a real number."""
    if not (getattr(expression, "is_number", False) and expression.is_real):
        return None
    approximate = expression.evalf(50)
    return Fraction(str(approximate)) if approximate.is_Float else None


def is_relation(latex: str) -> bool:
    """Whether it may stand for a set of numbers that is not written as a list."""
    return _RELATION.search(latex) is not None


def warm() -> None:
    """Do the slow first import, parse and comparison now."""
    for latex in (r"\frac{\sqrt{3}}{2}", "x^2-1"):
        same(parse(latex), parse("(x-1)(x+1)"))


@cache
def _algebra() -> _Algebra:
    # sympy takes most of a second to import, and most answers are settled before this rung.
    import math_verify  # noqa: PLC0415

    # It warns once that its own timers are off; the jail is the timer here.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    config = [math_verify.LatexExtractionConfig(boxed_match_priority=-1)]
    return _Algebra(math_verify.parse, math_verify.verify, config)


def _with_one_i(expression: Any) -> Any:
    """The expression with a free ``i`` as the imaginary unit, and all other letters real.

    latex2sympy reads the i of ``3i`` and of ``3\\cdot i`` as two different symbols.
    """
    # Already imported by now, with math-verify.
    import sympy  # noqa: PLC0415

    free: set[Any] = getattr(expression, "free_symbols", set())
    if isinstance(expression, sympy.And) or all(s.name != "i" and s.is_real for s in free):
        return expression  # a chain of relations would lose its order
    i: Any = cast(Any, sympy).I
    return expression.xreplace(
        {s: i if s.name == "i" else sympy.Symbol(s.name, real=True) for s in free}
    )


def _digits(expression: Any) -> float:
    """Upper bound of the decimal digits that evaluating it may produce; infinite if unknown."""
    if getattr(expression, "is_Matrix", False):
        return sum((_digits(entry) for entry in expression.flat()), 0.0)
    if getattr(expression, "is_Rational", False):
        return math.log10(max(abs(expression.p), expression.q))
    name = type(expression).__name__
    if name == "Pow":
        return _digits_of_power(expression.base, expression.exp)
    if name in ("factorial", "factorial2", "binomial", "gamma", "exp"):
        size = max(_digits(argument) for argument in expression.args)
        return 10**size * 3 if size <= 3 else math.inf
    return sum((_digits(part) for part in getattr(expression, "args", ())), 0.0)


def _digits_of_power(base: Any, exponent: Any) -> float:
    size = _digits(exponent)
    if size > 5:
        return math.inf
    if getattr(base, "is_Add", False) and base.free_symbols and 10**size > MAX_POWER_OF_SUM:
        return math.inf
    return max(_digits(base), 0.1) * 10**size
