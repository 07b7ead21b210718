"""All stacks of a run in one file, for the moment when something takes too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from rlvr.cluster.host import describe_tasks
from rlvr.cluster.nodes import on_node, within
from rlvr.cluster.processes import stacks_of
from rlvr.cluster.worker import Worker

WORKER_SECONDS = 3.0
"""For one worker to write its stacks."""
SHARED_SECONDS = 30.0
"""Calls that run out together share one file."""


class StackDumps:
    """Writes the stacks of every worker, and of the driver's tasks, to a file under the run."""

    def __init__(self, run_dir: Path, workers: Mapping[str, Worker]) -> None:
        self._run_dir = run_dir
        self._workers = workers
        self._writing = asyncio.Lock()
        self._last: tuple[float, Path] | None = None

    async def __call__(self, phase: str) -> Path:
        """The file, ``stacks-<phase>-<time>.txt``; each worker is waited for ``WORKER_SECONDS``."""
        async with self._writing:
            now = time.monotonic()
            if self._last is not None and now - self._last[0] < SHARED_SECONDS:
                return self._last[1]
            workers = list(self._workers.values())
            texts = await asyncio.gather(*(_stacks(worker) for worker in workers))
            driver = describe_tasks(asyncio.get_running_loop())
            path = self._run_dir / f"stacks-{phase}-{time.strftime('%Y%m%dT%H%M%S')}.txt"
            parts = [f"===== {w.name} =====\n{t}" for w, t in zip(workers, texts, strict=True)]
            path.write_text("\n\n".join([*parts, f"===== driver =====\n{driver}"]) + "\n")
            self._last = now, path
            return path


async def _stacks(worker: Worker) -> str:
    """Threads by signal, tasks by a call beside the others; either may fail alone."""
    if worker.identity is None:
        return "no answer: its process is not up yet"
    tasks = worker.actor.tasks.options(concurrency_group="control")
    answers = await asyncio.gather(
        on_node(worker.node_id, stacks_of, worker.identity.pid, worker.stacks, WORKER_SECONDS),
        within(WORKER_SECONDS, tasks.remote()),
        return_exceptions=True,
    )
    return "\n".join(a if isinstance(a, str) else f"no answer: {a!r}" for a in answers)
