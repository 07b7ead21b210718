"""Questions with eight responses each, of the kinds that models give most."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from rlvr.rewards.auditing.suites import read_suite

PER_QUESTION = 8

Answers = tuple[str, tuple[str, ...], tuple[str, ...]]
"""The reference, right answers in several spellings, wrong ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response to a question, and whether it is right."""

    gold: str
    text: str
    right: bool


def questions(count: int, seed: int = 0) -> list[list[Response]]:
    """``count`` questions, each with eight responses of which half or so are right."""
    draw = random.Random(seed)
    return [_responses(draw, draw.choices(KINDS, WEIGHTS)[0](draw)) for _ in range(count)]


def golden(folder: Path) -> list[Response]:
    """The equivalences of the golden suites, as boxed answers; none where there are no suites."""
    path = folder / "equivalence.jsonl"
    if not path.is_file():
        return []
    return [
        Response(
            gold=case.gold, text=f"So the answer is \\boxed{{{case.answer}}}.", right=case.must_pass
        )
        for case in read_suite(path)
        if case.answer is not None
    ]


def _responses(draw: random.Random, answers: Answers) -> list[Response]:
    gold, right, wrong = answers
    made: list[Response] = []
    for _ in range(PER_QUESTION):
        is_right = draw.random() < 0.5
        answer = draw.choice(right if is_right else wrong)
        steps = "\n".join(
            f"Step {step}: we have $x_{{{step}}} = {draw.randint(1, 99)}$ and go on from there."
            for step in range(draw.randint(2, 12))
        )
        close = draw.choice(CLOSINGS).replace("@", answer)
        made.append(Response(gold=gold, text=f"{steps}\n{close}", right=is_right))
    return made


CLOSINGS = (
    "The final answer is $\\boxed{@}$.",
    "**Final Answer**\n\\boxed{@}",
    "Therefore,\n\\[\n\\boxed{@}\n\\]",
    "So we get $x = @$, that is, $\\boxed{@}$.",
)


def _integer(draw: random.Random) -> Answers:
    value = draw.randint(-9999, 99999)
    return (
        str(value),
        (str(value), f"{value:,}", f"x = {value}"),
        (str(value + 1), str(-value or 7)),
    )


def _fraction(draw: random.Random) -> Answers:
    value = Fraction(draw.randint(1, 40), draw.choice((2, 3, 4, 5, 7, 8, 9, 11)))
    top, bottom = value.numerator, value.denominator
    gold = f"\\frac{{{top}}}{{{bottom}}}"
    right = (
        f"\\dfrac{{{top}}}{{{bottom}}}",
        f"{top}/{bottom}",
        f"\\frac{{{2 * top}}}{{{2 * bottom}}}",
    )
    return gold, right, (f"\\frac{{{bottom}}}{{{top + 1}}}", f"-\\frac{{{top}}}{{{bottom}}}")


def _decimal(draw: random.Random) -> Answers:
    value = draw.randint(1, 9999)
    text = f"{value / 100:.2f}"
    return (
        text,
        (text, text + "0", f"{value}/100"),
        (f"{value / 10:.1f}1", f"{(value + 1) / 100:.2f}"),
    )


def _tuple(draw: random.Random) -> Answers:
    a, b = draw.sample(range(-20, 20), 2)
    right = (f"({a}, {b})", f"\\left({a}, {b}\\right)", f"({a},{b})")
    return f"({a},{b})", right, (f"({b}, {a})", f"({a}, {b + 1})")


def _root(draw: random.Random) -> Answers:
    a, b = draw.randint(2, 9), draw.choice((2, 3, 5, 6, 7))
    right = (f"{a}\\sqrt{{{b}}}", f"\\sqrt{{{a * a * b}}}", f"{a} \\sqrt {b}")
    return f"{a}\\sqrt{{{b}}}", right, (f"{b}\\sqrt{{{a}}}", f"{a + 1}\\sqrt{{{b}}}")


def _polynomial(draw: random.Random) -> Answers:
    a, b = draw.randint(1, 9), draw.randint(1, 9)
    gold = f"x^2+{a + b}x+{a * b}"
    return (
        gold,
        (gold, f"(x+{a})(x+{b})", f"{a * b}+{a + b}x+x^2"),
        (f"(x-{a})(x+{b})", f"x^2+{a}x+{b}"),
    )


def _word(draw: random.Random) -> Answers:
    names = ("Evelyn", "Tuesday", "east", "odd")
    name = draw.choice(names)
    other = next(one for one in names if one != name)
    return (
        f"\\text{{{name}}}",
        (name, f"\\text{{{name}}}", name.upper()),
        (other, f"\\text{{{other}}}"),
    )


def _choice(draw: random.Random) -> Answers:
    letter = draw.choice("ABCDE")
    other = draw.choice([one for one in "ABCDE" if one != letter])
    return letter, (letter, f"({letter})", f"\\text{{({letter})}}"), (other, f"({other})")


KINDS: tuple[Callable[[random.Random], Answers], ...] = (
    _integer, _fraction, _decimal, _tuple, _root, _polynomial, _word, _choice,
)  # fmt: skip
WEIGHTS = (40, 16, 8, 8, 8, 8, 6, 6)
"""About as often as in MATH and in competition sets."""
