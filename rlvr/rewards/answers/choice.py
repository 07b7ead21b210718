"""Answers that choose one of several options: ``(B)``, ``B.``, ``B) 12``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from rlvr.rewards.answers.clean import WORD

_LETTER_ALONE = re.compile(r"\( ?([A-Za-z]) ?\)|([A-Z])[.):]|([A-Z])")
_WITH_TEXT = re.compile(r"(?:\( ?([A-J]) ?\)|([A-J]) ?[.):]) ?((?! ?(?:and\b|or\b|[,;/&])).+)")


class _Choice(NamedTuple):
    letter: str
    text: str
    """What follows the letter; empty where it stands alone."""


def same(a: str, b: str, equivalent: Callable[[str, str], bool]) -> bool | None:
    """Whether two cleaned answers choose the same; None where neither is a choice that says so.

    A letter with its text equals the letter as well as the text.
    """
    left, right = _choice(a), _choice(b)
    if left is None and right is None:
        return None
    if left is not None and right is not None:
        return left.letter == right.letter
    chosen, other = (left, b) if left is not None else (right, a)
    assert chosen is not None
    return equivalent(chosen.text, other) if chosen.text else None


def is_choice(spelled: str) -> bool:
    """Whether a cleaned answer names an option."""
    return _choice(spelled) is not None


def _choice(spelled: str) -> _Choice | None:
    text = spelled.replace(WORD, "").strip()
    match = _LETTER_ALONE.fullmatch(text)
    if match is not None:
        return _Choice((match[1] or match[2] or match[3]).upper(), "")
    match = _WITH_TEXT.fullmatch(text)
    return None if match is None else _Choice((match[1] or match[2]).upper(), match[3])
