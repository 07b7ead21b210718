"""Grades a quoted span of text."""

from __future__ import annotations

from dataclasses import dataclass

from rlvr.rewards.answers.extract import Form
from rlvr.rewards.answers.marked import MarkedAnswer, judge, spelled
from rlvr.types import Problem, Verdict

VERIFIER = "span@1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span(MarkedAnswer):
    """Whether the marked span is the reference, but for case, spaces, quotes and end punctuation.

    Of ViCrit (arXiv:2506.10128), where the model names the span of a caption that was corrupted:
    a span that merely contains it, or is contained, is wrong.
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
    return spelled(text) or None
