"""Looks at a reward from inside the process that grades: what a call leaves behind, and whether
threads get the same verdicts. Loaded in a jail in the reward's place.
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rlvr.rewards.porting.ported import Loaded, load
from rlvr.types import Outcome, Problem, Verdict

Case = tuple[Problem, tuple[str, ...]]
"""A problem, and texts that are graded in one call."""
Seen = tuple[str, float | None, str | None]
"""What two verdicts have in common that are the same: outcome, reward and what was read."""
_COLUMN = "probe"


def seen(verdict: Verdict) -> Seen:
    """What of a verdict is compared."""
    return str(verdict.outcome), verdict.reward, verdict.extracted


def node(spec: object) -> dict[str, Any]:
    """What a jail loads to have ``spec`` probed. As JSON, since a nested node would be built."""
    return {"_target_": "rlvr.rewards.trials.probe.Probe", "spec": json.dumps(spec)}


def question(kind: str, cases: Sequence[Case], count: int) -> Problem:
    """What a probe is asked: ``leaks`` over ``count`` calls, or ``threads``, ``count`` of them."""
    return Problem(id=kind, prompt="", answer="", extra={_COLUMN: (tuple(cases), count)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a process holds."""

    resident_mb: float
    files: int
    threads: int


class Probe:
    """Answers a ``question``; its finding is the ``detail`` of its verdict, as JSON."""

    def __init__(self, spec: str) -> None:
        self._loaded: Loaded = load(json.loads(spec))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        cases, count = cast(tuple[tuple[Case, ...], int], problem.extra[_COLUMN])
        found = self._leaks(cases, count) if problem.id == "leaks" else self._threads(cases, count)
        return Verdict(outcome=Outcome.CORRECT, reward=1.0, detail=json.dumps(found))

    def _leaks(self, cases: Sequence[Case], calls: int) -> list[list[float]]:
        """What is held after each tenth of the calls."""
        held: list[list[float]] = []
        for number in range(calls):
            problem, texts = cases[number % len(cases)]
            self._grade(problem, texts)
            if (number + 1) % max(1, calls // 10) == 0:
                now = _held()
                held.append([now.resident_mb, now.files, now.threads])
        return held

    def _threads(self, cases: Sequence[Case], threads: int) -> list[list[Seen]]:
        """Verdicts on each case, graded by that many threads at once."""
        with ThreadPoolExecutor(threads) as pool:
            asked = [pool.submit(self._grade, *case) for case in cases for _ in range(threads)]
            return [one.result() for one in asked]

    def _grade(self, problem: Problem, texts: Sequence[str]) -> list[Seen]:
        try:
            return [seen(verdict) for verdict in self._loaded.grade(problem, texts)]
        except Exception:
            # As the jail has it, so that it is the same where the call fails alone as well.
            return [(str(Outcome.ERROR), None, None)] * len(texts)


def _held() -> Held:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Held(
        resident_mb=pages * resource.getpagesize() / 2**20,
        files=len(os.listdir("/proc/self/fd")),
        threads=len(os.listdir("/proc/self/task")),
    )
