"""The last rung: what only computer algebra reads, such as integrals and limits.

latex2sympy parses with a grammar and evaluates nothing of the text as Python, but sympy may take
for ever over a single integral. So this is asked only where a clock can stop it.
"""

from __future__ import annotations

import logging
import signal
import time
from functools import cache
from typing import Any

MAX_CHARACTERS = 200
_AGAIN = 0.1
"""Seconds until the clock rings again: sympy has places that swallow any exception."""


class _Late(BaseException):
    """Time is up. No ``Exception``: both libraries catch those on the way."""


def equal(a: str, b: str, *, seconds: float) -> bool:
    """Whether math-verify calls two expressions equal, in either order, within some seconds.

    The clock is a signal: call it from a process's main thread.
    """
    if max(len(a), len(b)) > MAX_CHARACTERS:
        return False
    handler = signal.signal(signal.SIGALRM, _ring)
    started = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        return _equal(a, b)
    except _Late:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:  # another's clock
            rest = left - (time.monotonic() - started)
            signal.setitimer(signal.ITIMER_REAL, max(rest, 1e-3), interval)


def _ring(*_: object) -> None:
    raise _Late


def _equal(a: str, b: str) -> bool:
    math_verify = _math_verify()
    left, right = (
        math_verify.parse(
            f"${text}$",
            [math_verify.LatexExtractionConfig(boxed_match_priority=-1)],
            fallback_mode="no_fallback",
            parsing_timeout=None,
        )
        for text in (a, b)
    )
    return any(
        math_verify.verify(gold, answer, timeout_seconds=None)
        for gold, answer in ((left, right), (right, left))
    )


def warm() -> None:
    """Do the slow first import, parse and comparison now."""
    equal(r"\\frac{\\sqrt{3}}{2}", "(x-1)(x+1)", seconds=60)


@cache
def _math_verify() -> Any:
    # sympy takes most of a second to import, and nearly all answers are settled before.
    import math_verify  # noqa: PLC0415

    # It logs every expression that it cannot read, which here is what it is asked about.
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    return math_verify
