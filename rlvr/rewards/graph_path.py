"""Grades a path through a graph whose nodes are letters."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rlvr.rewards.answers.extract import Form
from rlvr.rewards.answers.marked import MarkedAnswer, judge
from rlvr.types import Problem, Verdict

VERIFIER = "graph_path@1"

_BETWEEN = re.compile(
    r"(?:[\s,;\[\]()'\"$*.]|-+>?|\\(?:right|to)(?:arrow)?|=>|\N{RIGHTWARDS ARROW})+"
)
_PATH = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphPath(MarkedAnswer):
    """Whether the marked path visits the reference's nodes in its order (Guru, arXiv:2506.14965).

    ``ACE``, ``A -> C -> E`` and ``["A", "C", "E"]`` are the same path. Case tells nodes apart.
    """

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return judge(
            problem.answer,
            text,
            form=Form(self.form),
            verifier=VERIFIER,
            read=_read,
            share=lambda gold, answer: float(gold == answer),
        )


def _read(text: str) -> str | None:
    """The nodes in order: letters side by side, or apart; words among others are prose."""
    pieces = [piece for piece in _BETWEEN.split(text) if piece]
    if len(pieces) > 1 and any(len(piece) > 1 for piece in pieces):
        return None
    nodes = "".join(pieces)
    return nodes if _PATH.fullmatch(nodes) else None
