"""Grades programs by unit tests."""

from __future__ import annotations

import ast
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, cast

from rlvr.rewards.answers import extract
from rlvr.rewards.sandbox.box import Box, Sandbox, SandboxError
from rlvr.rewards.sandbox.kept import KeptSandbox
from rlvr.rewards.unit_tests import layouts
from rlvr.rewards.unit_tests.assertions import UnreadableTests
from rlvr.rewards.unit_tests.findings import Finding, finding, job_of
from rlvr.rewards.unit_tests.layouts import UnitTest
from rlvr.types import Outcome, Problem, Verdict

VERIFIER = "code@1"
PRELUDE = """\
import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string
from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from functools import cache, cmp_to_key, lru_cache, reduce
from heapq import heapify, heappop, heappush, heappushpop, heapreplace, nlargest, nsmallest
from itertools import accumulate, combinations, groupby, pairwise, permutations, product
from math import ceil, comb, floor, gcd, inf, isqrt, lcm, sqrt
from typing import *
"""
"""What sites that judge functions import unasked. A star import of math would hide ``pow``."""
_OUT_OF_TIME = Finding.OVERRAN, Finding.STARVED
_SHOWN = 20_000
"""Characters of a program that a verdict carries."""
_LANGUAGES = ("python", "python3", "py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Whether the last ``python`` block of a text passes the problem's unit tests.

    The tests are those that ``unit_tests.layouts`` finds. Expected outputs and values never enter
    the process of the program; tests that cannot be taken apart do, and ``sandbox.jobs.Script``
    says what they can be deceived by. A program that overruns its limits is wrong. A sandbox that
    cannot be made, or had no CPU for most of a program's time, is an error or a timeout.
    """

    seconds: float = 2.0
    """Of one test, without the time that it had no CPU."""
    total_seconds: float = 4.0
    """Of all tests of a text together; keep it below ``reward_service.seconds``."""
    max_tests: int = 50
    """More are thinned evenly, the first and the last kept."""
    partial: bool = False
    """Reward the share of tests that passed, instead of stopping at the first that fails."""
    column: str = ""
    """The extra column that holds the tests; by default the first that usually does."""
    prelude: str = PRELUDE
    """Runs before functions, not before whole programs."""
    sandbox: Sandbox = field(default_factory=Sandbox)
    right: float = 1.0
    wrong: float = 0.0
    _kept: KeptSandbox = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= self.total_seconds:
            raise ValueError(
                f"seconds={self.seconds}, total_seconds={self.total_seconds}: a test takes some "
                "time and all tests at least as much; give 0 < seconds <= total_seconds"
            )
        if self.max_tests < 1:
            raise ValueError(f"max_tests={self.max_tests}: no test says nothing; give at least 1")
        if not (isfinite(self.right) and isfinite(self.wrong) and self.right > self.wrong):
            raise ValueError(
                f"right={self.right}, wrong={self.wrong}: a right answer must earn more than a "
                "wrong one, and both a finite number"
            )
        object.__setattr__(self, "_kept", KeptSandbox(self.sandbox))

    @property
    def maximum(self) -> float:
        """The reward of a program that passes all tests."""
        return self.right

    def example(self, problem: Problem) -> str | None:
        """The reference solution: what stands under ``solution`` beside the tests in the answer, or
        in the column of that name. None where there is none, or none in Python."""
        try:
            held: Any = json.loads(problem.answer)
        except ValueError:
            held = None
        beside = cast(Mapping[str, Any], held if isinstance(held, dict) else {})
        solution = beside.get("solution") or problem.extra.get("solution")
        if not isinstance(solution, str) or not solution.strip():
            return None
        source = program(solution) or solution
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        return f"```python\n{source}\n```"

    def key(self, problem: Problem, text: str) -> str | None:
        """The program."""
        return program(text)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        source = program(text)
        if source is None:
            missing = "no complete python block after the thinking"
            return self._verdict(Outcome.NO_ANSWER, missing, None)
        deadline = time.monotonic() + self.total_seconds
        try:
            tests = self._tests(problem)
        except UnreadableTests as e:
            return self._verdict(Outcome.GOLD_UNPARSED, str(e), source)
        try:
            with self._kept.box() as box:
                return self._judge(box, source, tests, deadline)
        except SandboxError as e:
            return self._verdict(Outcome.ERROR, str(e), source)

    def _tests(self, problem: Problem) -> Sequence[UnitTest]:
        tests = layouts.read(problem, self.column)
        for name in sorted(layouts.imports(tests) - sys.stdlib_module_names - {"solution"}):
            if not any(
                Path(place, name).is_dir() or Path(place, f"{name}.py").is_file()
                for place in self.sandbox.packages
            ):
                raise UnreadableTests(
                    f"the tests import {name}, which the sandbox does not have; name the directory "
                    "that holds it in sandbox.packages"
                )
        if len(tests) <= self.max_tests:
            return tests
        last, steps = len(tests) - 1, max(self.max_tests - 1, 1)
        return [tests[i * last // steps] for i in range(self.max_tests)]

    def _judge(self, box: Box, source: str, tests: Sequence[UnitTest], deadline: float) -> Verdict:
        used, passed, timeouts, detail = 0.0, 0, 0, ""
        for number, test in enumerate(tests, 1):
            left = deadline - time.monotonic()
            seconds = min(self.seconds, max(left, 0.0))
            if left > 0:
                job = job_of(test, source, self.prelude)
                run = box.run(job, seconds=seconds, wall_seconds=min(4 * self.seconds, left))
                used += run.used
                found, why = finding(test, job, run, seconds)
            else:
                found, why = Finding.OVERRAN, "total_seconds had gone by"
            if found in _OUT_OF_TIME and seconds < self.seconds:  # all tests together overran
                busy = used < self.total_seconds / 2
                found = Finding.STARVED if busy else Finding.OVERRAN
            if found is Finding.STARVED:
                what = f"test {number} of {len(tests)}: the machine is too busy to tell ({why})"
                return self._verdict(Outcome.TIMEOUT, what, source)
            passed += found is Finding.PASSED
            timeouts += found is Finding.OVERRAN
            if found is not Finding.PASSED:
                detail = detail or f"test {number} of {len(tests)}: {why}"
                if not self.partial or left <= 0:
                    break
        parts = {"tests": len(tests), "passed": passed, "timeouts": timeouts}
        return Verdict(
            outcome=Outcome.CORRECT if passed == len(tests) else Outcome.WRONG,
            reward=self._reward(passed / len(tests)),
            extracted=source[:_SHOWN],
            detail=detail,
            parts={name: float(value) for name, value in parts.items()},
            verifier=VERIFIER,
        )

    def _reward(self, share: float) -> float:
        if share == 1:
            return self.right
        return self.wrong + (self.right - self.wrong) * share if self.partial else self.wrong

    def _verdict(self, outcome: Outcome, detail: str, source: str | None) -> Verdict:
        return Verdict(
            outcome=outcome,
            reward=self.wrong if outcome.is_graded else None,
            extracted=source and source[:_SHOWN],
            detail=detail,
            verifier=VERIFIER,
        )


def program(text: str) -> str | None:
    """The last complete ``python`` block after the thinking; None where the last one never ends,
    or there is none. Takes time linear in the text."""
    said = extract.after_thinking(text)
    if said is None:
        return None
    found: str | None = None
    block: list[str] | None = None
    fence, is_python = "", False
    for line in said.split("\n"):
        bare = line.strip()
        if block is None:
            if bare.startswith("```"):
                info = bare.lstrip("`")
                fence, block = bare[: len(bare) - len(info)], []
                is_python = info.split()[:1] != [] and info.split()[0].lower() in _LANGUAGES
        elif bare.startswith(fence) and not bare.strip("`"):
            found = "\n".join(block) if is_python else found
            block = None
        else:
            block.append(line)
    return None if block is not None and is_python else found
