r"""Plain math-verify as a reward: what a ladder of one's own has to be better than."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, cast

from rlvr.types import Outcome, Problem, Verdict

VERIFIER = "math-verify@0.9"


@dataclass(frozen=True, slots=True, kw_only=True)
class MathVerify:
    r"""math-verify at its best settings: gold and answer in ``\boxed{}``, boxes looked at first.

    Its own timers are off, for they need the main thread and wait for C code: the jail bounds it.
    """

    maximum: float = 1.0

    def example(self, problem: Problem) -> str:
        return rf"\boxed{{{problem.answer}}}"

    def __call__(self, problem: Problem, text: str) -> Verdict:
        # Here: importing sympy takes a second, which whoever only names the class need not wait.
        import math_verify  # noqa: PLC0415

        for name in ("math_verify.parser", "math_verify.grader"):
            logging.getLogger(name).setLevel(logging.ERROR)  # each call warns that timers are off
        library = cast(Any, math_verify)
        configs = [
            library.LatexExtractionConfig(boxed_match_priority=0),
            library.ExprExtractionConfig(),
        ]
        gold = library.parse(self.example(problem), configs, parsing_timeout=None)
        if not gold:
            return Verdict(outcome=Outcome.GOLD_UNPARSED, reward=None, verifier=VERIFIER)
        answer = library.parse(text, configs, parsing_timeout=None)
        if not answer:
            return Verdict(outcome=Outcome.NO_ANSWER, reward=0.0, verifier=VERIFIER)
        correct = library.verify(gold, answer, timeout_seconds=None)
        return Verdict(
            outcome=Outcome.CORRECT if correct else Outcome.WRONG,
            reward=float(correct),
            extracted=str(answer[-1])[:2000],
            verifier=VERIFIER,
        )
