"""Has golden cases graded, each in a process that can be killed, and clocks every verdict."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Self

from rlvr.rewards.auditing.golden import Graded
from rlvr.rewards.auditing.suites import Case
from rlvr.rewards.serving.jail import Jail, Template
from rlvr.types import Problem

MATH = {"_target_": "rlvr.rewards.math.Math"}


def measure(
    spec: object,
    cases: Sequence[Case],
    *,
    processes: int = 1,
    seconds: float = 5.0,
    done: Callable[[], None] = lambda: None,
) -> list[Graded]:
    """A verdict on each case that the reward can be asked, in order.

    A case that marks its answer otherwise than by a box is for the math verifier alone.

    Raises:
        JailError: the reward cannot be loaded.
    """
    forms: defaultdict[str | None, list[int]] = defaultdict(list)
    for place, case in enumerate(cases):
        forms[case.form].append(place)
    graded: dict[int, Graded] = {}
    for form, places in forms.items():
        node = _with_form(spec, form)
        if node is None:
            continue
        with _Graders(node, processes=processes, seconds=seconds) as graders:
            verdicts = graders.grade([cases[place] for place in places], done)
            graded.update(zip(places, verdicts, strict=True))
    return [graded[place] for place in sorted(graded)]


class _Graders:
    """Grading processes for one form of the reward."""

    def __init__(self, spec: object, *, processes: int, seconds: float) -> None:
        self._template = Template(spec)
        self._jails = [Jail(self._template, seconds=seconds) for _ in range(processes)]
        self._free: SimpleQueue[Jail] = SimpleQueue()
        for jail in self._jails:
            self._free.put(jail)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for jail in self._jails:
            jail.close()
        self._template.close()

    def grade(self, cases: Sequence[Case], done: Callable[[], None]) -> list[Graded]:
        def one(case: Case) -> Graded:
            jail = self._free.get_nowait()
            try:
                return _grade(jail, case)
            finally:
                self._free.put(jail)
                done()

        with ThreadPoolExecutor(len(self._jails)) as threads:
            return list(threads.map(one, cases))


def _grade(jail: Jail, case: Case) -> Graded:
    text = case.text if case.text is not None else _shown(jail, case.answer or "")
    began = time.monotonic()
    verdict = jail(_problem(case.gold), text)
    seconds = time.monotonic() - began
    mirrored = None
    if case.answer is not None:
        mirrored = jail(_problem(case.answer), _shown(jail, case.gold)).outcome
    return Graded(case=case, verdict=verdict, seconds=seconds, mirrored=mirrored)


def _shown(jail: Jail, answer: str) -> str:
    return jail.example(_problem(answer)) or rf"\boxed{{{answer}}}"


def _problem(gold: str) -> Problem:
    return Problem(id="audit", prompt="", answer=gold)


def _with_form(spec: object, form: str | None) -> object | None:
    if form is None or form == "box":
        return spec
    return {**MATH, "form": form} if spec == MATH else None
