"""Grades a quoted span of text."""

from __future__ import annotations

from dataclasses import dataclass

from rlvr.rewards.answers import extract
from rlvr.rewards.answers.marked import form_named, judge, spelled
from rlvr.types import Problem, Verdict

VERIFIER = "span@1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Whether the marked span is the reference, but for case, spaces, quotes and end punctuation.

    Of ViCrit (arXiv:2506.10128), where the model names the span of a caption that was corrupted:
    a span that merely contains it, or is contained, is wrong.
    """

    form: str = "answer_tag"
    """How an answer is marked: ``box``, ``answer_tag``, ``hashes`` or ``phrase``."""

    def __post_init__(self) -> None:
        form_named(self.form)

    @property
    def maximum(self) -> float:
        """The reward of a right answer."""
        return 1.0

    def example(self, problem: Problem) -> str:
        """A text that gives the reference in the form that is looked for."""
        return extract.mark(problem.answer, form_named(self.form))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return judge(
            problem.answer,
            text,
            form=form_named(self.form),
            verifier=VERIFIER,
            read=_read,
            share=lambda gold, answer: float(gold == answer),
        )


def _read(text: str) -> str | None:
    return spelled(text) or None
