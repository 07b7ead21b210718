"""Turns groups of rollouts into graded groups, by workers in other processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from rlvr.remote import PhaseTimeout, Remote, WorkerDied
from rlvr.rewards.serving.backlog import Backlog
from rlvr.rewards.serving.workload import Workload, metrics
from rlvr.types import GradedGroup, Problem, RolloutGroup, Verdict

log = logging.getLogger(__name__)

RESPAWNS = 3
"""Times that one worker is replaced: what kills it more often than that is not chance."""

Respawn = Callable[[Remote], Awaitable[Remote]]
"""Makes a worker in the place of one that died, started and tested."""


class RewardService:
    """Grades each group on the worker that has the least to do."""

    def __init__(
        self,
        workers: Sequence[Remote],
        *,
        max_waiting: int = 4096,
        respawn: Respawn | None = None,
    ) -> None:
        """``max_waiting`` texts may be with one worker at a time; ``grade`` waits beyond that.

        Without ``respawn`` a worker that died is not replaced.
        """
        if not workers:
            raise ValueError(
                "workers=[]: grading takes at least one worker; see reward_service.workers"
            )
        self._respawn = respawn
        self._places = [_Place(worker, Backlog(max_waiting)) for worker in workers]

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

    async def metrics(self) -> dict[str, float]:
        """What the workers did since this was last asked; see ``rlvr.metrics``."""
        alive = [place for place in self._places if place.alive]
        workloads = await asyncio.gather(*(self._workload(place) for place in alive))
        waiting = sum(place.backlog.texts + place.backlog.held_back for place in self._places)
        return {
            "reward/workers": float(len(alive)),
            "reward/waiting": float(waiting),
            **metrics([load for load in workloads if load is not None]),
        }

    async def _workload(self, place: _Place) -> Workload | None:
        worker = place.worker
        try:
            return await worker.call("take_workload", phase="grade")
        except WorkerDied as death:
            self._bury(place, worker, death)
            return None

    async def _ask(self, problem: Problem, texts: tuple[str, ...]) -> list[Verdict]:
        """Verdicts from the least loaded worker; from another where that one dies.

        Grading is pure, so asking again is safe.
        """
        while True:
            place = min(await self._living(), key=lambda place: place.load)
            async with place.backlog.room(len(texts)):
                worker = place.worker
                if not place.alive:
                    continue
                try:
                    return await worker.call("grade", problem, texts, phase="grade")
                except WorkerDied as death:
                    self._bury(place, worker, death)

    async def _living(self) -> list[_Place]:
        """Workers that can be asked; where none can, those that are being replaced come first."""
        while not (living := [place for place in self._places if place.alive]):
            coming = [place.coming for place in self._places if place.coming is not None]
            if not coming:
                names = ", ".join(place.worker.name for place in self._places)
                raise WorkerDied(f"all reward workers are gone ({names}): {self._places[-1].death}")
            await asyncio.wait(coming)  # bounded by the budget of their start
        return living

    def _bury(self, place: _Place, worker: Remote, death: WorkerDied) -> None:
        """Go on without a worker, and have another made in its place. Each of the calls that its
        death ended comes by here."""
        if not place.alive or place.worker is not worker:
            return
        place.alive, place.death = False, death
        if self._respawn is None or place.respawns >= RESPAWNS:
            log.warning("%s; the others go on without it", death)
            return
        log.warning("%s; it is replaced, and the others go on meanwhile", death)
        place.respawns += 1
        place.coming = asyncio.create_task(self._replace(place, self._respawn))

    async def _replace(self, place: _Place, respawn: Respawn) -> None:
        try:
            place.worker = await respawn(place.worker)
        except (RuntimeError, PhaseTimeout) as error:
            log.warning("%s cannot be replaced: %s", place.worker.name, error)
        else:
            place.alive = True
        finally:
            place.coming = None


class _Place:
    """A worker, what is with it, and its successor on the way."""

    def __init__(self, worker: Remote, backlog: Backlog) -> None:
        self.worker = worker
        self.backlog = backlog
        self.alive = True
        self.respawns = 0
        self.coming: asyncio.Task[None] | None = None
        self.death: WorkerDied | None = None

    @property
    def load(self) -> int:
        return self.backlog.texts + self.backlog.held_back
