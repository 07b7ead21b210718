"""Grades a sequence of things put in order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from rlvr.rewards.answers.extract import Form
from rlvr.rewards.answers.marked import MarkedAnswer, judge, spelled, unfenced
from rlvr.rewards.json_io import parse_printed
from rlvr.types import Problem, Verdict

VERIFIER = "ordering@1"
MAX_ITEMS = 500
"""A longer list is not read: the distance of two takes time in the product of their lengths."""

_BETWEEN = re.compile(r",|;|\n|->|\N{RIGHTWARDS ARROW}|<|>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering(MarkedAnswer):
    """Whether the marked list is the reference's, item by item (Guru, arXiv:2506.14965).

    A list is JSON, or its items stand apart by commas, semicolons, arrows or lines.
    """

    partial: bool = False
    """``1 - edits / length of the longer list`` is the reward; else 1 for the exact list."""

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return judge(
            problem.answer,
            text,
            form=Form(self.form),
            verifier=VERIFIER,
            read=_read,
            share=_share,
            partial=self.partial,
            part="order",
        )


def edits(a: Sequence[str], b: Sequence[str]) -> int:
    """Levenshtein's distance: insertions, deletions and substitutions that turn one into the
    other. Takes time in the product of their lengths."""
    previous = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        current = [i]
        for j, right in enumerate(b, start=1):
            replaced = previous[j - 1] + (left != right)
            current.append(min(replaced, previous[j] + 1, current[-1] + 1))
        previous = current
    return previous[-1]


def _share(gold: tuple[str, ...], answer: tuple[str, ...]) -> float:
    return 1.0 - edits(gold, answer) / max(len(gold), len(answer))


def _read(text: str) -> tuple[str, ...] | None:
    value = parse_printed(text)
    if isinstance(value, list):
        items = [str(item) for item in cast(list[object], value)[: MAX_ITEMS + 1]]
    else:
        items = _BETWEEN.split(unfenced(text).strip().strip("[]()"), maxsplit=MAX_ITEMS)
    if len(items) > MAX_ITEMS:
        return None
    words = tuple(spelled(item) for item in items)
    return words if words and all(words) else None
