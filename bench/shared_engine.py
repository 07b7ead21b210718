"""Many runs, one after the other, on one engine and one reward worker.

Starting vLLM takes longer than many steps of the tiny model, and an engine takes any weights of the
shape that it was started with. Each run has a learner of its own, from the base model on.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import ray

from rlvr import assembly
from rlvr.algorithm import Algorithm, algorithm
from rlvr.assembly import Data, Samplers
from rlvr.checkpoint import Checkpoints
from rlvr.cluster.cluster import Cluster
from rlvr.cluster.placement import Ask
from rlvr.config import RunConfig
from rlvr.config_checks import built
from rlvr.learner.environment import environment
from rlvr.learner.group import LearnerGroup
from rlvr.learner.settings import LearnerSettings
from rlvr.loop import Loop
from rlvr.model_directory import resolve_model
from rlvr.sinks.every import Every
from rlvr.train import Session
from rlvr.types import WeightVersion


@dataclass(kw_only=True)
class Recorded:
    """A sink that keeps what it is given."""

    steps: list[dict[str, float]] = field(default_factory=list)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.steps.append({"step": float(step), **metrics})

    def close(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """A run whose parts are up and hold the base weights, before its first step."""

    loop: Loop
    learner: LearnerGroup
    samplers: Samplers
    log: Recorded


@dataclass(kw_only=True)
class SharedEngine:
    """Runs must have the model, lengths and reward that it was started for, and one rank."""

    cluster: Cluster
    samplers: Samplers
    data: Data
    model: str
    run_dir: Path
    learners: int = 0
    """Started so far; each has a log of its own."""

    @classmethod
    @asynccontextmanager
    async def started(cls, run: RunConfig, run_dir: Path) -> AsyncIterator[SharedEngine]:
        model = resolve_model(run.model)
        data = assembly.read_data(run, model)
        # Workers that are spawned later get the cluster's environment alone.
        run.cluster.env |= environment(threads=1, gpu=False, one_node=True)
        asks = assembly.asks(run, learner=False)
        async with Cluster(run.cluster, run.budgets, run_dir, asks) as cluster:
            samplers = await assembly.start_samplers(run, model, data, cluster)
            yield cls(cluster=cluster, samplers=samplers, data=data, model=model, run_dir=run_dir)

    @asynccontextmanager
    async def trainee(self, run: RunConfig, log: Recorded | None = None) -> AsyncIterator[Trainee]:
        """The run with a learner of its own, which ends with it; its metrics go to ``log``."""
        parts = algorithm(run)
        settings = assembly.learner_settings(run, self.model, parts)
        async with self._learner(settings) as learner:
            data = replace(self.data, problems=built("problems", run.problems))
            samplers = replace(
                self.samplers,
                rollouts=self.samplers.rollouts.for_run(
                    sampling=assembly.sampling(run), seed=run.seed
                ),
            )
            session, log = self._session(run, data, parts, settings), log or Recorded()
            session.sink = Every([log])
            loop = session.loop(samplers, learner, None)
            await loop.weights.sync(WeightVersion(0))
            yield Trainee(loop=loop, learner=learner, samplers=samplers, log=log)

    def _session(
        self, run: RunConfig, data: Data, parts: Algorithm, settings: LearnerSettings
    ) -> Session:
        run.run_dir = str(self.run_dir)
        run.sinks = []
        root = self.run_dir / f"checkpoints-{self.learners}"
        checkpoints = Checkpoints(root=root, keep=1)
        return Session(run, self.model, data, parts, settings, checkpoints, None, time.monotonic())

    @asynccontextmanager
    async def _learner(self, settings: LearnerSettings) -> AsyncIterator[LearnerGroup]:
        name = f"learner-{self.learners}"
        self.learners += 1
        worker = await self.cluster.spawn_beside(
            Ask(name=name, section="learner", cpus=1, gpus=0),
            self.cluster.nodes()[0],
            "rlvr.learner.worker:LearnerWorker",
            {"name": name, "rank": 0, "world_size": 1, "model": self.model, "settings": settings},
        )
        group = LearnerGroup([worker], settings=settings)
        try:
            await group.start()
            yield group
            await group.close()
        finally:
            worker.answers = False  # so that the cluster's end does not ask it to close again
            ray.kill(worker.actor, no_restart=True)
