"""Spreads texts over grading processes. Plain Python: ``cluster`` makes it an actor."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from queue import SimpleQueue
from typing import TypeVar

from rlvr.rewards.base import OTHERS
from rlvr.rewards.porting.ported import About
from rlvr.rewards.serving.jail import ExampleError, Jail, Template
from rlvr.rewards.serving.self_test import WRONG, self_test
from rlvr.rewards.serving.workload import Workload
from rlvr.types import Outcome, Problem, Verdict

T = TypeVar("T")

_TEXTS_PER_DISPATCH = 16
"""Texts that one process takes at a time: few enough that a slow one holds up few others."""


def check_quotas(about: About, quotas: Iterable[str]) -> None:
    """Refuse quotas for verifiers that the reward does not have.

    Raises:
        ValueError: names them and those that it has.
    """
    known = {about.routes.get(OTHERS, about.name), *about.routes.values()}
    for name in quotas:
        if name not in known:
            raise ValueError(
                f"reward_service.quotas.{name}: the reward has no verifier of that name; it has "
                f"{', '.join(sorted(known))}"
            )


class RewardWorker:
    """Grading processes on one machine, and the queue before them."""

    def __init__(
        self,
        spec: object,
        *,
        processes: int = 2,
        seconds: float = 5.0,
        memory_gb: float = 2.0,
        cache: int = 4096,
        quotas: Mapping[str, int] | None = None,
        start_seconds: float = 60.0,
    ) -> None:
        """``seconds`` bounds one verdict from its dispatch to a process; waiting is not counted.

        ``memory_gb`` bounds what one process takes beyond the loaded reward; 0 sets no limit.
        ``cache`` is how many verdicts each process remembers. ``quotas`` bounds the processes that
        grade for one verifier at a time, by its name.
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
        self._cache = cache
        self._quotas = {name: asyncio.Semaphore(most) for name, most in (quotas or {}).items()}
        self._start_seconds = start_seconds
        self._template: Template | None = None
        self._jails: list[Jail] = []
        self._free: SimpleQueue[Jail] = SimpleQueue()
        self._slots = asyncio.Semaphore(processes)
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="grade")
        self._lock = threading.Lock()
        self._forget()

    async def start(self, problems: Sequence[Problem] = ()) -> About:
        """Load the reward, spawn the processes and test them on ``problems``.

        Raises:
            JailError: the reward cannot be loaded, or has a fault in ``example``; says why.
            SelfTestError: it judges known answers wrongly; see ``self_test``.
            ValueError: a quota names no verifier of the reward.
        """
        about = await asyncio.get_running_loop().run_in_executor(self._threads, self._spawn)
        check_quotas(about, self._quotas)
        await self_test(self, problems)
        self._forget()
        return about

    @property
    def maximum(self) -> float | None:
        """The reward of a right answer; None where only its author knows."""
        return self._about().maximum

    async def grade(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """One verdict per text, in order. Calls may overlap and share the processes.

        Raises:
            JailError: a grading process could not be replaced.
        """
        size = min(_TEXTS_PER_DISPATCH, -(-len(texts) // self._processes))
        if self._about().batched:
            size = len(texts)
        dispatches = [texts[i : i + size] for i in range(0, len(texts), max(1, size))]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._dispatch(problem, some)) for some in dispatches]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [verdict for task in tasks for verdict in task.result()]

    async def examples(self, problem: Problem) -> tuple[str | None, str]:
        """See ``self_test.Grader``."""

        def ask(jail: Jail) -> tuple[str | None, str]:
            right = jail.example(problem)
            try:
                wrong = jail.example(replace(problem, answer=WRONG))
            except ExampleError:  # it expects more of a reference, such as JSON
                wrong = None
            return right, wrong or WRONG

        async with self._slots:
            return await self._in_a_process(ask)

    def take_workload(self) -> Workload:
        """What was done since this was last asked."""
        with self._lock:
            taken, now = self._lately, time.monotonic()
            taken.capacity_seconds = self._processes * (now - self._since)
            (killed, died), (killed_before, died_before) = self._ends(), self._ended
            taken.killed, taken.died = killed - killed_before, died - died_before
            self._lately, self._since, self._ended = Workload(), now, (killed, died)
            return taken

    def stats(self) -> dict[str, float]:
        """Counts since the start, seconds of an even sample of all verdicts, and the share of
        processes at work now."""
        with self._lock:
            total, (killed, died) = self._total, self._ends()
            return {
                "busy": 1 - self._free.qsize() / self._processes,
                "graded": float(total.outcomes.total()),
                **{f"outcome/{name}": float(total.outcomes[name]) for name in Outcome},
                "killed": float(killed),
                "died": float(died),
                "cache_hits": float(total.cached),
                "queue_seconds": total.queue_seconds,
                "working_seconds": total.working_seconds,
                "latency_seconds/p50": total.latency.quantile(0.5),
                "latency_seconds/p99": total.latency.quantile(0.99),
            }

    def close(self) -> None:
        """End all processes. Grading that is under way fails."""
        if self._template is not None:
            self._template.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _spawn(self) -> About:
        self._template = Template(
            self._spec, memory_gb=self._memory_gb, start_seconds=self._start_seconds
        )
        for _ in range(self._processes):
            jail = Jail(self._template, seconds=self._seconds, cache=self._cache)
            self._jails.append(jail)
            self._free.put(jail)
        return self._template.about

    async def _dispatch(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        asked = time.monotonic()
        about = self._about()
        quota = self._quotas.get(about.judge_of(problem))
        async with AsyncExitStack() as held:
            # The quota first: who waits for it keeps no process from others.
            for bound in (quota, self._slots):
                if bound is not None:
                    await held.enter_async_context(bound)
            waited = time.monotonic() - asked
            return await self._in_a_process(lambda jail: self._grade(jail, problem, texts, waited))

    async def _in_a_process(self, use: Callable[[Jail], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._lend, use)

    def _lend(self, use: Callable[[Jail], T]) -> T:
        # As many threads as processes: one is free. A cancelled caller leaves its thread to
        # finish, so the process is taken and given back here and not in the coroutine.
        jail = self._free.get_nowait()
        try:
            return use(jail)
        finally:
            self._free.put(jail)

    def _grade(
        self, jail: Jail, problem: Problem, texts: Sequence[str], waited: float
    ) -> list[Verdict]:
        judged = jail.judge(problem, texts)
        with self._lock:
            for one in judged:
                self._total.add(one, queue_seconds=waited)
                self._lately.add(one, queue_seconds=waited)
        return [verdict for one in judged for verdict in one.verdicts]

    def _forget(self) -> None:
        self._total, self._lately = Workload(), Workload()
        self._since, self._ended = time.monotonic(), self._ends()

    def _ends(self) -> tuple[int, int]:
        """Processes that were killed, and that died, since the start."""
        return sum(jail.killed for jail in self._jails), sum(jail.died for jail in self._jails)

    def _about(self) -> About:
        if self._template is None:
            raise RuntimeError("the worker has not been started; await start() first")
        return self._template.about
