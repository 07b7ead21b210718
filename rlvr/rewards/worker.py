"""Spreads texts over grading processes. Plain Python: ``cluster`` makes it an actor."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from rlvr.rewards.jail import Jail, Template
from rlvr.rewards.ported import About
from rlvr.types import Outcome, Problem, Verdict

_TEXTS_PER_DISPATCH = 16
"""Texts that one process takes at a time: few enough that a slow one holds up few others."""
_WRONG = "-31415926"
"""An answer that no data set has."""


class SelfTestError(RuntimeError):
    """The reward refuses a right answer, accepts a wrong one, or fails."""


class RewardWorker:
    """Grading processes on one machine, and the queue before them."""

    def __init__(
        self,
        spec: object,
        *,
        processes: int = 2,
        seconds: float = 5.0,
        memory_gb: float = 2.0,
        start_seconds: float = 60.0,
    ) -> None:
        """``seconds`` bounds one verdict from its dispatch to a process; waiting is not counted.

        ``memory_gb`` bounds what one process takes beyond the loaded reward; 0 sets no limit.
        """
        if processes < 1 or seconds <= 0:
            raise ValueError(
                f"processes={processes}, seconds={seconds}: grading takes at least one process "
                "and some time"
            )
        self._spec = spec
        self._processes = processes
        self._seconds = seconds
        self._memory_gb = memory_gb
        self._start_seconds = start_seconds
        self._template: Template | None = None
        self._jails: list[Jail] = []
        self._free: SimpleQueue[Jail] = SimpleQueue()
        self._slots = asyncio.Semaphore(processes)
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="grade")
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._latency = Reservoir(1000)
        self._queue_seconds = 0.0

    async def start(self, problems: Sequence[Problem] = ()) -> About:
        """Load the reward, spawn the processes and test them on ``problems``.

        Raises:
            JailError: the reward cannot be loaded; says why.
            SelfTestError: see ``self_test``.
        """
        about = await asyncio.get_running_loop().run_in_executor(self._threads, self._spawn)
        await self.self_test(problems)
        self._counts.clear()
        return about

    async def grade(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """One verdict per text, in order. Calls may overlap and share the processes.

        Raises:
            JailError: a grading process could not be replaced.
        """
        share = -(-len(texts) // self._processes)
        size = max(1, min(_TEXTS_PER_DISPATCH, share))
        dispatches = [texts[i : i + size] for i in range(0, len(texts), size)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._dispatch(problem, some)) for some in dispatches]
        return [verdict for task in tasks for verdict in task.result()]

    async def self_test(self, problems: Sequence[Problem]) -> None:
        """Grade known answers through the very same processes.

        Where the reward says how a right answer looks (``example``), the reference itself must be
        correct and earn the maximum, and neither an empty text nor another answer may be correct.
        Of other rewards only a verdict is asked.

        Raises:
            SelfTestError: names the problem, its reference, the verdict and the remedy.
        """
        for problem in problems:
            right, wrong = await self._examples(problem)
            verdicts = await self.grade(
                problem, [right or f"\\boxed{{{problem.answer}}}", wrong, ""]
            )
            for verdict in verdicts:
                if verdict.outcome in (Outcome.ERROR, Outcome.TIMEOUT):
                    raise SelfTestError(
                        _complaint(problem, verdict, "the reward failed", _FIX_CODE)
                    )
            if right is None:
                continue
            first, maximum = verdicts[0], self._loaded().about.maximum
            if first.outcome is not Outcome.CORRECT or first.reward != (maximum or first.reward):
                what = f"the reference itself, given as {right!r}, is not accepted"
                raise SelfTestError(_complaint(problem, first, what, _FIX_DATA))
            for verdict in verdicts[1:]:
                if verdict.outcome is Outcome.CORRECT:
                    what = "a wrong answer is accepted"
                    raise SelfTestError(_complaint(problem, verdict, what, _FIX_CODE))

    def stats(self) -> dict[str, float]:
        """Counts since the start, seconds of the latest thousand verdicts or so, and the share of
        processes at work now."""
        with self._lock:
            return {
                "busy": 1 - self._free.qsize() / self._processes,
                "graded": float(self._counts.total()),
                **{f"outcome/{name}": float(self._counts[name]) for name in Outcome},
                "killed": float(sum(jail.killed for jail in self._jails)),
                "died": float(sum(jail.died for jail in self._jails)),
                "queue_seconds": self._queue_seconds,
                "latency_seconds/p50": self._latency.quantile(0.5),
                "latency_seconds/p99": self._latency.quantile(0.99),
            }

    def close(self) -> None:
        """End all processes. Grading that is under way fails."""
        if self._template is not None:
            self._template.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for jail in self._jails:
            jail.close()

    def _spawn(self) -> About:
        self._template = Template(
            self._spec, memory_gb=self._memory_gb, start_seconds=self._start_seconds
        )
        for _ in range(self._processes):
            jail = Jail(self._template, seconds=self._seconds)
            self._jails.append(jail)
            self._free.put(jail)
        return self._template.about

    async def _dispatch(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        asked = time.monotonic()
        async with self._slots:
            self._queue_seconds += time.monotonic() - asked
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._grade, problem, texts)

    def _grade(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        # As many threads as processes: one is free. A cancelled caller leaves its thread to
        # finish, so the process is taken and given back here and not in the coroutine.
        jail = self._free.get_nowait()
        try:
            verdicts: list[Verdict] = []
            for text in texts:
                start = time.monotonic()
                verdicts += jail.grade(problem, [text])
                with self._lock:
                    self._latency.add(time.monotonic() - start)
                    self._counts[verdicts[-1].outcome] += 1
            return verdicts
        finally:
            self._free.put(jail)

    async def _examples(self, problem: Problem) -> tuple[str | None, str]:
        loop = asyncio.get_running_loop()
        async with self._slots:
            return await loop.run_in_executor(self._threads, self._ask_examples, problem)

    def _ask_examples(self, problem: Problem) -> tuple[str | None, str]:
        jail = self._free.get_nowait()
        try:
            return jail.example(problem.answer), jail.example(_WRONG) or _WRONG
        finally:
            self._free.put(jail)

    def _loaded(self) -> Template:
        if self._template is None:
            raise RuntimeError("the worker has not been started; await start() first")
        return self._template


class Reservoir:
    """An even sample of a stream (Vitter's algorithm R), for its quantiles."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen = 0
        self._kept: list[float] = []
        self._random = random.Random(0)

    def add(self, value: float) -> None:
        self._seen += 1
        if len(self._kept) < self._size:
            self._kept.append(value)
        elif (place := self._random.randrange(self._seen)) < self._size:
            self._kept[place] = value

    def quantile(self, q: float) -> float:
        """The value below which a share ``q`` lies; 0 where nothing was seen."""
        ordered = sorted(self._kept)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


_FIX_DATA = (
    "Correct or leave out the problem, or choose a verifier that reads such answers "
    "(rlvr.rewards.check lists all that it does not)"
)
_FIX_CODE = "Correct the reward; a run on it would learn from noise"


def _complaint(problem: Problem, verdict: Verdict, what: str, remedy: str) -> str:
    return (
        f"self-test of the reward on problem {problem.id!r} (reference {problem.answer[:200]!r}): "
        f"{what}. Verdict: {verdict.outcome}, reward {verdict.reward}, extracted "
        f"{verdict.extracted!r}, {verdict.detail or 'no detail'}. {remedy}."
    )
