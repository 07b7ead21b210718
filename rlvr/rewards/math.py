r"""Grades answers to mathematics problems.

A ladder, from certain and cheap to clever and slow; the first rung that can decide does:

    same spelling -> words -> exact numbers -> lists, tuples, sets, intervals -> math-verify

Pure functions without timers, so that a test, a notebook and the grading process see the same
verdict. What sympy makes of hostile input is bounded by ``rewards.jail``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite

from rlvr.rewards.answers import extract, lists, numbers, symbolic
from rlvr.rewards.answers.extract import Form
from rlvr.rewards.answers.spelling import quantity, same_unit
from rlvr.types import Outcome, Problem, Verdict

VERIFIER = "math@1"
MAX_ANSWER = 2000
"""Characters; a longer answer is wrong without a further look."""
MAX_CANDIDATES = 8
"""Boxes on the last line that are compared with each other; more are a list of guesses."""

_WORDS = re.compile(r"[A-Za-z]+(?:[ '-][A-Za-z]+)*")
_PROSE = re.compile(r"(?<![A-Za-z\\_{])[A-Za-z]{4,}")
_CHOICE = re.compile(r"\(([A-Za-z])\)")
_NAMED = re.compile(r"[A-Za-z](?:_(?:\w|\{\w+\}))?=(?P<rest>[^=]+)")
_IN_BASE = re.compile(r"(?P<digits>[0-9A-Fa-f]+)_\{?(?P<base>\d+)\}?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Math:
    """Whether the marked answer equals the reference, by the ladder above."""

    form: str = "box"
    """How an answer is marked: ``box``, ``answer_tag``, ``hashes`` or ``phrase``."""
    right: float = 1.0
    wrong: float = 0.0

    def __post_init__(self) -> None:
        if self.form not in set(Form):
            raise ValueError(
                f"form={self.form!r} is no way to mark an answer; take one of {', '.join(Form)}"
            )
        if not (isfinite(self.right) and isfinite(self.wrong) and self.right > self.wrong):
            raise ValueError(
                f"right={self.right}, wrong={self.wrong}: a right answer must earn more than a "
                "wrong one, and both a finite number"
            )

    @property
    def maximum(self) -> float:
        """The reward of a right answer."""
        return self.right

    def example(self, answer: str) -> str:
        """A text that gives ``answer`` in the form that is looked for."""
        return extract.mark(extract.unboxed(answer), Form(self.form))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return grade(problem.answer, text, form=Form(self.form), right=self.right, wrong=self.wrong)


def grade(
    gold: str, response: str, *, form: Form = Form.BOX, right: float = 1.0, wrong: float = 0.0
) -> Verdict:
    """Judges the answer that a response marks.

    Thoughts are not looked into. The last marked answer counts, but answers on its line that
    differ from it are a hedge, and wrong, unless the reference is the list of them. A reference
    that cannot be read judges nothing, not even an answer spelled like it: its groups would hold
    right answers alone.

    Raises:
        Exception: what sympy raised on a pair that it could not compare.
    """
    said = extract.after_thinking(response)
    found = extract.answers(said, form) if said is not None else ()
    if not found:
        missing = "the thinking never ended" if said is None else f"no answer marked as {form}"
        return Verdict(outcome=Outcome.NO_ANSWER, reward=wrong, detail=missing, verifier=VERIFIER)
    gold, answer = extract.unboxed(gold), found[-1]
    if not readable(gold):
        detail = f"the reference {gold[:200]!r} cannot be read, so it can judge no answer"
        return Verdict(outcome=Outcome.GOLD_UNPARSED, reward=None, detail=detail, verifier=VERIFIER)
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

    Raises:
        Exception: what sympy raised on a pair that it could not compare.
    """
    if max(len(gold), len(answer)) > MAX_ANSWER:
        return gold.strip() == answer.strip()
    a, b = quantity(gold), quantity(answer)
    if not a.body or not b.body or not same_unit(a.unit, b.unit):
        return False
    left, right = _without_lone_name(a.body, b.body)
    for rung in (_spelled_alike, _words_alike, _numbers_equal, _lists_equal, _algebra_equal):
        decided = rung(left, right)
        if decided is not None:
            return decided
    return False


def readable(gold: str) -> bool:
    """Whether an answer can be understood, and so another one be called different from it."""
    if len(gold) > MAX_ANSWER:
        return False
    body = quantity(gold).body
    if not body:
        return False
    if (
        _PROSE.search(body)
        or _WORDS.fullmatch(body)
        or numbers.number(body)
        or _IN_BASE.fullmatch(body)
    ):
        return True
    several = lists.parts(body)
    if several is not None:
        return all(readable(item) for item in several.items)
    try:
        return symbolic.parse(body) is not None
    except symbolic.TooLarge:
        return False


def _is_the_list(gold: str, found: tuple[str, ...]) -> bool:
    return len(found) <= MAX_CANDIDATES and equivalent(gold, ", ".join(found))


def _is_hedge(found: tuple[str, ...]) -> bool:
    distinct = set(found)
    return len(distinct) > MAX_CANDIDATES or any(
        not equivalent(found[-1], other) for other in distinct - {found[-1]}
    )


def _without_lone_name(a: str, b: str) -> tuple[str, str]:
    """Drops ``x=`` where only one of the two has it."""
    named_a, named_b = _NAMED.fullmatch(a), _NAMED.fullmatch(b)
    if named_a and "=" not in b:
        return named_a["rest"], b
    if named_b and "=" not in a:
        return a, named_b["rest"]
    return a, b


def _spelled_alike(a: str, b: str) -> bool | None:
    return True if a == b else None


def _words_alike(a: str, b: str) -> bool | None:
    r"""Letters alone are words, but for two or three small ones, which may be a product.

    Case tells segments and matrices apart (``AB``, ``ab``), not choices (``A``) nor words.
    """
    a, b = _CHOICE.sub(r"\1", a), _CHOICE.sub(r"\1", b)
    if _PROSE.search(a) and a.casefold() == b.casefold():
        return True
    if not (_WORDS.fullmatch(a) and _WORDS.fullmatch(b)):
        return None
    if 1 < len(a) == len(b) <= 3 and a.islower() and b.islower():
        return None
    return a == b if len(a) == 2 else a.casefold() == b.casefold()


def _numbers_equal(a: str, b: str) -> bool | None:
    in_base_a, in_base_b = _IN_BASE.fullmatch(a), _IN_BASE.fullmatch(b)
    if in_base_a and in_base_b:
        return in_base_a.groups() == in_base_b.groups()
    if in_base_a or in_base_b:
        # Datasets leave the base out where the problem has named it.
        a, b = (m["digits"] if m else text for m, text in ((in_base_a, a), (in_base_b, b)))
    left, right = numbers.number(a), numbers.number(b)
    return None if left is None or right is None else numbers.equal(left, right)


def _lists_equal(a: str, b: str) -> bool | None:
    left, right = lists.parts(a), lists.parts(b)
    if left is not None and right is not None:
        return lists.same(left, right, equivalent)
    several, single = (left, b) if left is not None else (right, a)
    if several is None:
        return None
    if len(several.items) == 1 and several.brackets == "{}":
        return equivalent(several.items[0], single)
    return None if symbolic.is_relation(single) else False


def _algebra_equal(a: str, b: str) -> bool | None:
    try:
        left, right = symbolic.parse(a), symbolic.parse(b)
    except symbolic.TooLarge:
        return False
    if left is None or right is None:
        return False
    for decimal, expression in ((numbers.number(a), right), (numbers.number(b), left)):
        value = symbolic.value(expression) if decimal and decimal.places is not None else None
        if decimal is not None and value is not None:
            return numbers.equal(decimal, numbers.exact(value))
    return symbolic.same(left, right)
