r"""Grades answers to mathematics problems.

    response -> marked answer -> tree -> compared as what it is -> (math-verify)

Answers are read into trees by a grammar of their own (``answers.syntax``) and compared exactly:
rational numbers as fractions, rational functions modulo a prime, the rest to forty digits, lists,
sets, intervals, matrices and relations by their parts. No text reaches an evaluator, and neither
length nor nesting can make it slow.

``equivalent`` and ``grade`` are pure functions without timers, so that a test, a notebook and the
grading process see the same verdict. ``Math`` also asks math-verify about the few answers that the
grammar does not know, against a clock.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isfinite

from rlvr.rewards.answers import choice, compare, extract, symbolic
from rlvr.rewards.answers.clean import WORD
from rlvr.rewards.answers.extract import Form
from rlvr.rewards.answers.marked import form_named, gold_unparsed
from rlvr.rewards.answers.reading import Reading, decimal_comma, is_ambiguous, read
from rlvr.rewards.answers.tree import Group, walk
from rlvr.rewards.answers.values import can_be_evaluated
from rlvr.types import Outcome, Problem, Verdict

VERIFIER = "math@2"
MAX_ANSWER = 2000
"""Characters; a longer answer is wrong without a further look."""
MAX_CANDIDATES = 8
"""Boxes on the last line that are compared with each other; more are a list of guesses."""

_CAPITALS = re.compile(r"[A-Z]{2,}")
_IN_BASE = re.compile(r"(?P<digits>[0-9A-Fa-f]+) ?_ ?\{? ?(?P<base>\d+) ?\}?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Math:
    """Whether the marked answer equals the reference."""

    form: str = "box"
    """How an answer is marked: ``box``, ``answer_tag``, ``hashes`` or ``phrase``."""
    right: float = 1.0
    wrong: float = 0.0
    algebra_seconds: float = 0.5
    """Longest time for math-verify over an answer that the grammar does not know; 0 never asks."""

    def __post_init__(self) -> None:
        form_named(self.form)
        if not (isfinite(self.right) and isfinite(self.wrong) and self.right > self.wrong):
            raise ValueError(
                f"right={self.right}, wrong={self.wrong}: a right answer must earn more than a "
                "wrong one, and both a finite number"
            )
        if self.algebra_seconds < 0:
            raise ValueError(
                f"algebra_seconds={self.algebra_seconds}: a time in seconds, or 0 for never"
            )

    @property
    def maximum(self) -> float:
        """The reward of a right answer."""
        return self.right

    def example(self, problem: Problem) -> str:
        """A text that gives the reference in the form that is looked for."""
        return extract.mark(extract.unboxed(problem.answer), Form(self.form))

    def key(self, problem: Problem, text: str) -> str | None:
        """The marked answers, on which alone the verdict rests."""
        del problem
        said = extract.after_thinking(text)
        found = extract.answers(said, Form(self.form)) if said is not None else ("unfinished", "")
        key = "\x1f".join(found)
        return key if len(key) <= MAX_ANSWER else None

    def __call__(self, problem: Problem, text: str) -> Verdict:
        verdict = grade(
            problem.answer, text, form=Form(self.form), right=self.right, wrong=self.wrong
        )
        if not self._algebra_knows(problem.answer, verdict):
            return verdict
        return replace(verdict, outcome=Outcome.CORRECT, reward=self.right, detail="math-verify")

    def _algebra_knows(self, gold: str, verdict: Verdict) -> bool:
        if verdict.outcome is not Outcome.WRONG or verdict.detail or not self.algebra_seconds:
            return False
        both = [read(extract.unboxed(gold)), read(verdict.extracted or "")]
        if any(reading.has_prose for reading in both) or all(r.tree is not None for r in both):
            return False
        # Its clock is a signal, which only the main thread gets.
        return threading.current_thread() is threading.main_thread() and symbolic.equal(
            *(reading.spelled for reading in both), seconds=self.algebra_seconds
        )


def grade(
    gold: str, response: str, *, form: Form = Form.BOX, right: float = 1.0, wrong: float = 0.0
) -> Verdict:
    """Judges the answer that a response marks.

    Thoughts are not looked into. The last marked answer counts, but answers beside it that differ
    from it are a hedge, and wrong, unless the reference is the list of them. A reference that
    cannot be read judges nothing, not even an answer spelled like it.
    """
    said = extract.after_thinking(response)
    found = extract.answers(said, form) if said is not None else ()
    if not found:
        missing = "the thinking never ended" if said is None else f"no answer marked as {form}"
        return Verdict(outcome=Outcome.NO_ANSWER, reward=wrong, detail=missing, verifier=VERIFIER)
    gold, answer = extract.unboxed(gold), found[-1]
    if not readable(gold) and (read(gold).tree is None or not equivalent(gold, answer)):
        return gold_unparsed(VERIFIER, gold)
    detail = ""
    if len(found) > 1 and _is_the_list(gold, found):
        correct, answer = True, ", ".join(found)
    elif _is_hedge(found):
        correct, detail = False, f"{len(found)} answers on the last line that differ"
    else:
        correct = equivalent(gold, answer)
    return Verdict(
        outcome=Outcome.CORRECT if correct else Outcome.WRONG,
        reward=right if correct else wrong,
        extracted=answer[:MAX_ANSWER],
        detail=detail,
        verifier=VERIFIER,
    )


def equivalent(gold: str, answer: str) -> bool:
    """Whether two answers mean the same; ``equivalent(a, b) == equivalent(b, a)``.

    False where either is empty, cannot be read or is too large to evaluate.
    """
    if max(len(gold), len(answer)) > MAX_ANSWER:
        return gold.strip() == answer.strip()
    a, b = read(gold), read(answer)
    if not a.spelled or not b.spelled:
        return False
    if a.spelled == b.spelled:
        return True
    chosen = choice.same(a.spelled, b.spelled, equivalent)
    if chosen is not None:
        return chosen
    return _same_in_base(a.spelled, b.spelled) or any(
        _same_reading(x, y) for x, y in _readings(gold, answer, a, b)
    )


def readable(gold: str) -> bool:
    """Whether an answer can be understood, and so another one be called different from it."""
    if len(gold) > MAX_ANSWER:
        return False
    found = read(gold)
    if found.tree is not None:
        return can_be_evaluated(found.tree)
    if found.has_prose and found.words:
        return True
    return choice.is_choice(found.spelled) or bool(_IN_BASE.fullmatch(_bare(found.spelled)))


def _bare(spelled: str) -> str:
    return spelled.replace(WORD, "").strip()


def _readings(gold: str, answer: str, a: Reading, b: Reading) -> Iterator[tuple[Reading, Reading]]:
    """Both answers as they are read at first, then as they may be meant as well."""
    yield a, b
    units, grouped = (
        any(choices)
        for choices in zip(is_ambiguous(a.spelled), is_ambiguous(b.spelled), strict=True)
    )
    if units:
        yield read(gold, units=False), read(answer, units=False)
    if grouped:
        yield _lists_alone(read(gold, grouped=False)), _lists_alone(read(answer, grouped=False))
    for one, other in ((a, b), (b, a)):
        decimal = decimal_comma(one.spelled)
        if decimal is not None and not isinstance(other.tree, Group):
            yield read(decimal), other


def _lists_alone(reading: Reading) -> Reading:
    has_list = reading.tree is not None and any(isinstance(n, Group) for n in walk(reading.tree))
    return reading if has_list else reading._replace(tree=None)


def _same_reading(a: Reading, b: Reading) -> bool:
    if a.tree is not None and b.tree is not None:
        if _CAPITALS.fullmatch(a.spelled) and _CAPITALS.fullmatch(b.spelled):
            return False  # segments and vertices, no products
        return compare.same(a.tree, b.tree) or _same_letter(a.spelled, b.spelled)
    if (a.has_prose and b.has_prose) or (a.tree is None and b.tree is None):
        return bool(a.words) and a.words == b.words
    return False


def _same_letter(a: str, b: str) -> bool:
    """Single letters are choices or names; their case says nothing."""
    a, b = _bare(a), _bare(b)
    return len(a) == 1 and a.isalpha() and a.casefold() == b.casefold()


def _same_in_base(a: str, b: str) -> bool:
    """``101_2`` is ``101`` where the problem has named the base."""
    left, right = _IN_BASE.fullmatch(_bare(a)), _IN_BASE.fullmatch(_bare(b))
    if left is None or right is None:
        digits, other = (left, b) if left else (right, a)
        return digits is not None and digits["digits"].upper() == other.upper()
    return [g.upper() for g in left.groups()] == [g.upper() for g in right.groups()]


def _is_the_list(gold: str, found: tuple[str, ...]) -> bool:
    return len(found) <= MAX_CANDIDATES and equivalent(gold, ", ".join(found))


def _is_hedge(found: tuple[str, ...]) -> bool:
    distinct = set(found)
    return len(distinct) > MAX_CANDIDATES or any(
        not equivalent(found[-1], other) for other in distinct - {found[-1]}
    )
