"""The reward workers of a run: where they live, what they are made of, and their successors."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Sequence
from typing import Any

from rlvr.cluster.cluster import Cluster
from rlvr.cluster.placement import Ask
from rlvr.cluster.worker import Worker
from rlvr.config import RunConfig
from rlvr.remote import Remote
from rlvr.rewards.serving.service import RewardService
from rlvr.types import Problem

WORKER = "rlvr.rewards.serving.worker:RewardWorker"
CONCURRENCY = 1024
"""Calls that a worker takes at a time; ``max_waiting`` bounds their texts."""


def asks(run: RunConfig) -> list[Ask]:
    """Of the workers that are placed with all others; none where each node gets its own."""
    return [_ask(f"reward-{index}") for index in range(run.reward_service.workers)]


async def start(run: RunConfig, cluster: Cluster, examples: Sequence[Problem]) -> RewardService:
    """All reward workers, tested on ``examples``; those that die later get successors."""
    kwargs = run.reward_service.worker_arguments(run.reward)
    homes: dict[str, str] = {}
    successors = itertools.count(1)

    async def tested(coming: Coroutine[Any, Any, Worker]) -> Worker:
        worker = await coming
        await worker.call("start", examples, phase="start")
        homes[worker.name] = worker.node_id
        return worker

    async def respawn(dead: Remote) -> Remote:
        nodes = cluster.nodes()
        home = homes[dead.name]
        node = home if home in nodes else nodes[0]
        name = f"{dead.name.partition('.')[0]}.{next(successors)}"
        return await tested(
            cluster.spawn_beside(_ask(name), node, WORKER, kwargs, concurrency=CONCURRENCY)
        )

    async with asyncio.TaskGroup() as tasks:
        workers = [tasks.create_task(tested(coming)) for coming in _spawned(run, cluster, kwargs)]
    return RewardService(
        [worker.result() for worker in workers],
        max_waiting=run.reward_service.max_waiting,
        respawn=respawn,
    )


def _spawned(
    run: RunConfig, cluster: Cluster, kwargs: dict[str, Any]
) -> list[Coroutine[Any, Any, Worker]]:
    if run.reward_service.workers:
        return [
            cluster.spawn(ask.name, WORKER, kwargs, concurrency=CONCURRENCY) for ask in asks(run)
        ]
    return [
        cluster.spawn_beside(_ask(f"reward-{i}"), node, WORKER, kwargs, concurrency=CONCURRENCY)
        for i, node in enumerate(cluster.nodes())
    ]


def _ask(name: str) -> Ask:
    return Ask(name=name, section="reward_service", cpus=0, gpus=0)
