"""The last rung: what only computer algebra reads, such as sums and integrals.

latex2sympy parses with a grammar and evaluates nothing of the text as Python. What it takes is kept
so small that its time is bounded; whatever else is written here stays unread.
"""

from __future__ import annotations

import logging
import re
from functools import cache, lru_cache
from typing import Any, NamedTuple

MAX_CHARACTERS = 100
_KNOWN = re.compile(r"\\(?:int|sum|prod|lim)(?![A-Za-z])")
_TOO_LARGE = re.compile(
    r"\d{3,}|!|\^.*\^.*\^|\\(?:int|sum|prod|lim).*\\(?:int|sum|prod|lim)"
)


class _Algebra(NamedTuple):
    parse: Any
    verify: Any
    config: Any


@lru_cache(maxsize=256)
def parse(latex: str) -> Any | None:
    """The expression that LaTeX with a sum, a product, an integral or a limit stands for; None
    where there is none in it, or it cannot be read, or it may take long to evaluate."""
    if len(latex) > MAX_CHARACTERS or not latex.isascii():
        return None
    if not _KNOWN.search(latex) or _TOO_LARGE.search(latex):
        return None
    algebra = _algebra()
    found: list[Any] = algebra.parse(
        f"${latex}$", algebra.config, fallback_mode="no_fallback", parsing_timeout=None
    )
    return found[0] if found else None


def equal(a: str, b: str) -> bool:
    """Whether math-verify calls two expressions equal, in either order; one of them has to be of
    the kind that ``parse`` reads."""
    if not (_KNOWN.search(a) or _KNOWN.search(b)) or max(len(a), len(b)) > MAX_CHARACTERS:
        return False
    left, right = (parse(x) or _plain(x) for x in (a, b))
    if left is None or right is None:
        return False
    return any(
        _algebra().verify(gold, answer, timeout_seconds=None, raise_on_error=False)
        for gold, answer in ((left, right), (right, left))
    )


def warm() -> None:
    """Do the slow first import, parse and comparison now."""
    equal(r"\int_0^1 x dx", r"\frac{1}{2}")


def _plain(latex: str) -> Any | None:
    if _KNOWN.search(latex) or _TOO_LARGE.search(latex) or not latex.isascii():
        return None
    algebra = _algebra()
    found: list[Any] = algebra.parse(
        f"${latex}$", algebra.config, fallback_mode="no_fallback", parsing_timeout=None
    )
    return found[0] if found else None


@cache
def _algebra() -> _Algebra:
    # sympy takes most of a second to import, and nearly all answers are settled before.
    import math_verify  # noqa: PLC0415

    # It warns once that its own timers are off; the jail is the timer here.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    config = [math_verify.LatexExtractionConfig(boxed_match_priority=-1)]
    return _Algebra(math_verify.parse, math_verify.verify, config)
