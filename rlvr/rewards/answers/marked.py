"""Judges the answer that a response marks, by what a rule reads in it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from rlvr.rewards.answers import extract
from rlvr.rewards.answers.extract import Form
from rlvr.types import Outcome, Problem, Verdict

MAX_SHOWN = 500
"""Characters of an answer that a verdict carries."""

_QUOTES = str.maketrans(
    dict.fromkeys("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}", "'")
    | dict.fromkeys("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}", '"')
    | dict.fromkeys("\N{EN DASH}\N{MINUS SIGN}\N{NON-BREAKING HYPHEN}", "-")
)
_AROUND = "'\"`* "
_FENCED = re.compile(r"\s*```\w*\s*\n(?P<inside>[^`]*)```\s*")
_Read = TypeVar("_Read")


def form_named(name: str) -> Form:
    """The form of that name.

    Raises:
        ValueError: there is none; says which there are.
    """
    if name not in set(Form):
        raise ValueError(
            f"form={name!r} is no way to mark an answer; take one of {', '.join(Form)}"
        )
    return Form(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedAnswer:
    """What rules have in common that look for one marked answer and give 1 for a right one."""

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


def spelled(text: str) -> str:
    """One spelling for texts that differ in case, width, spaces, quotes and end punctuation."""
    words = unicodedata.normalize("NFKC", text).translate(_QUOTES).casefold().split()
    return " ".join(words).strip(_AROUND).rstrip(".,;:!? ").strip(_AROUND)


def unfenced(text: str) -> str:
    """The inside of a text that is one fenced block; else the text."""
    fenced = _FENCED.fullmatch(text)
    return fenced["inside"] if fenced else text


def judge(
    gold: str,
    text: str,
    *,
    form: Form,
    verifier: str,
    read: Callable[[str], _Read | None],
    share: Callable[[_Read, _Read], float],
    partial: bool = False,
    part: str = "",
) -> Verdict:
    """Reads the reference and the marked answer alike, and compares what was read.

    ``share`` of (reference, answer) is how much of it is right, from 0 to 1; only 1 is correct.
    It is the reward where ``partial``, and logged as ``part`` where that has a name. Thoughts are
    not looked into, and marked answers that are read differently are a hedge, and wrong.
    """
    wanted = read(gold)
    if wanted is None:
        return gold_unparsed(verifier, gold)
    said = extract.after_thinking(text)
    found = extract.answers(said, form) if said is not None else ()
    if not found:
        missing = "the thinking never ended" if said is None else f"no answer marked as {form}"
        return no_answer(verifier, missing)
    answer = read(found[-1])
    detail, right = "", 0.0
    if answer is None:
        detail = "the marked answer cannot be read"
    elif any(read(other) != answer for other in set(found) - {found[-1]}):
        detail = "marked answers that differ"
    else:
        right = share(wanted, answer)
    return judged(
        verifier,
        right == 1.0,
        reward=right if partial else float(right == 1.0),
        extracted=found[-1],
        detail=detail,
        parts={part: right} if part else {},
    )


def judged(
    verifier: str,
    correct: bool,
    *,
    reward: float,
    extracted: str,
    detail: str = "",
    parts: Mapping[str, float] | None = None,
) -> Verdict:
    """The verdict on an answer that was found."""
    return Verdict(
        outcome=Outcome.CORRECT if correct else Outcome.WRONG,
        reward=reward,
        extracted=extracted[:MAX_SHOWN],
        detail=detail,
        parts=parts or {},
        verifier=verifier,
    )


def no_answer(verifier: str, why: str) -> Verdict:
    """The verdict on a text that gives none; its reward is 0."""
    return Verdict(outcome=Outcome.NO_ANSWER, reward=0.0, detail=why, verifier=verifier)


def gold_unparsed(verifier: str, gold: str) -> Verdict:
    """The verdict where the reference can judge nothing."""
    detail = f"the reference {gold[:200]!r} cannot be read, so it can judge no answer"
    return Verdict(outcome=Outcome.GOLD_UNPARSED, reward=None, detail=detail, verifier=verifier)
