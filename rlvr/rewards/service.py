"""Turns groups of rollouts into graded groups, by workers in other processes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rlvr.remote import Remote, WorkerDied
from rlvr.types import GradedGroup, Problem, RolloutGroup, Verdict

log = logging.getLogger(__name__)


class RewardService:
    """Grades each group on the worker that has the least to do."""

    def __init__(self, workers: Sequence[Remote]) -> None:
        if not workers:
            raise ValueError(
                "workers=[]: grading takes at least one worker; see reward_service.workers"
            )
        self._workers = list(workers)
        self._load = [0] * len(workers)
        self._alive = set(range(len(workers)))

    async def grade(self, group: RolloutGroup) -> GradedGroup:
        """Grade every rollout. Those whose grader failed or abstained go to ``ungraded``.

        Raises:
            WorkerDied: no worker is left.
            PhaseTimeout: a worker gave no verdicts within the budget of ``grade``.
        """
        verdicts = await self._ask(group.problem, tuple(r.text for r in group.rollouts_G))
        if len(verdicts) != len(group.rollouts_G):
            raise RuntimeError(
                f"problem {group.problem.id!r}: {len(verdicts)} verdicts for "
                f"{len(group.rollouts_G)} rollouts; a worker must return one per text"
            )
        graded = [
            (rollout, verdict)
            for rollout, verdict in zip(group.rollouts_G, verdicts, strict=True)
            if verdict.outcome.is_graded
        ]
        return GradedGroup(
            problem=group.problem,
            rollouts_G=tuple(rollout for rollout, _ in graded),
            verdicts_G=tuple(verdict for _, verdict in graded),
            ungraded=tuple(verdict for verdict in verdicts if not verdict.outcome.is_graded),
        )

    async def _ask(self, problem: Problem, texts: tuple[str, ...]) -> list[Verdict]:
        """Verdicts from the least loaded worker; from another where that one dies.

        Grading is pure, so asking again is safe.
        """
        while self._alive:
            index = min(self._alive, key=lambda i: self._load[i])
            self._load[index] += len(texts)
            try:
                return await self._workers[index].call("grade", problem, texts, phase="grade")
            except WorkerDied as death:
                log.warning("%s; the others go on without it", death)
                self._alive.discard(index)
                if not self._alive:
                    raise
            finally:
                self._load[index] -= len(texts)
        names = ", ".join(worker.name for worker in self._workers)
        raise WorkerDied(f"all reward workers are gone ({names}); their logs say why")
