"""Checks references against the reward that is to judge by them.

A reference that its own verifier does not accept can't be learned: every answer to it is wrong.

    problems, shuffled -> chunks -> a thread and a jail per process -> what was not accepted

Shuffled, so that where time runs out what was checked is a random sample of the rest.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from rlvr.rewards.auditing.references import CHUNK, Fault, Seen, seen_in
from rlvr.rewards.serving.jail import Jail, Template
from rlvr.types import Outcome, Problem

PER_CHUNK = 128
"""References that travel in one request."""

Progress = Callable[[int, int], None]
"""Told how many references of how many are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A problem whose reference is not accepted, and why."""

    place: int
    """Among the problems that were given."""
    problem_id: str
    source: str
    answer: str
    outcome: Outcome
    reason: str

    def __str__(self) -> str:
        return f"{self.problem_id}: {self.answer[:200]!r} is {self.outcome} ({self.reason})"


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldCheck:
    """How many references were graded, and those that were not accepted, in the data's order."""

    total: int
    """Problems that there are."""
    checked: int
    """Problems that were looked at: a random sample where there was no time for all."""
    unasked: int
    """Of these, those of which the reward does not say how a right answer looks."""
    rejected: tuple[Rejected, ...]
    seconds: float

    @property
    def rate(self) -> float:
        """Share of the graded references that were not accepted, in [0, 1]; 0 where none was."""
        graded = self.checked - self.unasked
        return len(self.rejected) / graded if graded else 0.0

    @property
    def is_complete(self) -> bool:
        return self.checked == self.total


@contextmanager
def reference_jails(
    spec: object, *, processes: int = 1, seconds: float = 5.0, memory_gb: float = 2.0
) -> Generator[Sequence[Jail], None, None]:
    """Processes that grade references by the reward that ``spec`` names, until the block ends.

    ``seconds`` bounds one verdict, ``memory_gb`` what a process takes beyond the loaded reward.

    Raises:
        JailError: the reward cannot be loaded; says why.
    """
    node = {"_target_": "rlvr.rewards.auditing.references.References", "spec": json.dumps(spec)}
    template = Template(node, memory_gb=memory_gb)
    jails: list[Jail] = []
    try:
        for _ in range(processes):
            jails.append(Jail(template, seconds=seconds))
        yield jails
    finally:
        for jail in jails:
            jail.close()
        template.close()


def check_references(
    jails: Sequence[Jail],
    problems: Sequence[Problem],
    *,
    limit_seconds: float = 120.0,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> GoldCheck:
    """Grade references as if a model had given them, in ``reference_jails``.

    ``limit_seconds`` bounds the whole, by one verdict more; ``seed`` decides who comes first.

    Raises:
        JailError: a grading process could not be replaced.
    """
    began = time.monotonic()
    order = list(range(len(problems)))
    random.Random(seed).shuffle(order)
    shuffled = [problems[i] for i in order]
    work = _Work(shuffled, deadline=began + limit_seconds, progress=progress)
    with ThreadPoolExecutor(len(jails), thread_name_prefix="check") as threads:
        try:
            for running in [threads.submit(work.run, jail) for jail in jails]:
                running.result()
        finally:
            work.stop()
    faults = sorted(work.faults, key=lambda item: order[item[0]])
    return GoldCheck(
        total=len(problems),
        checked=work.done,
        unasked=work.unasked,
        rejected=tuple(_rejected(order[i], shuffled[i], fault) for i, fault in faults),
        seconds=time.monotonic() - began,
    )


class _Work:
    """The references that are left, shared by the threads that have them graded."""

    def __init__(self, problems: Sequence[Problem], *, deadline: float, progress: Progress) -> None:
        self._problems = problems
        self._chunks = deque(range(0, len(problems), PER_CHUNK))
        self._deadline = deadline
        self._progress = progress
        self._lock = threading.Lock()
        self.done = 0
        self.unasked = 0
        self.faults: list[tuple[int, Fault]] = []

    def stop(self) -> None:
        self._chunks.clear()

    def run(self, jail: Jail) -> None:
        """Take chunks until there are none, or no time for more."""
        while time.monotonic() < self._deadline:
            try:
                start = self._chunks.popleft()
            except IndexError:
                return
            end = min(start + PER_CHUNK, len(self._problems))
            while start < end and time.monotonic() < self._deadline:
                start = self._grade(jail, start, end)

    def _grade(self, jail: Jail, start: int, end: int) -> int:
        """Grade some of the references from ``start`` to ``end``; the first that is left."""
        if isinstance(seen := self._ask(jail, start, end), Seen):
            self._add(start, seen)
            return start + seen.done
        # One of them hung, died or raised, and only asking each alone tells which.
        for place in range(start, end):
            if time.monotonic() > self._deadline:
                break
            answer = self._ask(jail, place, place + 1)
            if isinstance(answer, Fault):
                answer = Seen(done=1, unasked=0, faults=(answer,))
            self._add(place, answer)
        return end

    def _ask(self, jail: Jail, start: int, end: int) -> Seen | Fault:
        """What became of some references, or why nothing is known of them."""
        chunk = self._problems[start:end]
        verdict = jail(Problem(id=CHUNK, prompt="", answer="", extra={CHUNK: chunk}), "")
        failed = Fault(place=0, outcome=verdict.outcome, reason=verdict.detail)
        return seen_in(verdict) or failed

    def _add(self, start: int, seen: Seen) -> None:
        with self._lock:
            self.done += seen.done
            self.unasked += seen.unasked
            self.faults += ((start + fault.place, fault) for fault in seen.faults)
            self._progress(self.done, len(self._problems))


def _rejected(place: int, problem: Problem, fault: Fault) -> Rejected:
    return Rejected(
        place=place,
        problem_id=problem.id,
        source=problem.source,
        answer=problem.answer,
        outcome=fault.outcome,
        reason=fault.reason,
    )
