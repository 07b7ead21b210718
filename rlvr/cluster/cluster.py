"""Ray: where workers live, how they start, and how they end.

    asks -> one placement group -> spawn -> Worker.call -> stop
                                               |
                       past its budget: every worker's stacks in one file

This package alone knows Ray; other parts hold a ``Remote``.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import ray
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,  # pyright: ignore[reportUnknownVariableType]
    remove_placement_group,
)
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from rlvr.cluster.host import Host
from rlvr.cluster.nodes import NodeGone, on_node, within
from rlvr.cluster.placement import Ask, Residence, describe, refuse_impossible
from rlvr.cluster.processes import ProcessId, end, family
from rlvr.cluster.session import Session, python_path
from rlvr.cluster.stacks import StackDumps
from rlvr.cluster.worker import Worker
from rlvr.config import BudgetConfig, ClusterConfig, ConfigError

EXIT_SECONDS = 1.0
"""For workers to go when Ray ends them; it reports a death that it did not cause."""
END_SECONDS = 10.0
"""For killed processes to be gone; one inside a system call takes its time."""
LEAST_CPUS = 0.001
"""Ray refuses a bundle of nothing."""

log = logging.getLogger(__name__)
T = TypeVar("T")

_ray = cast(Any, ray)
# A second concurrency group has its own event loop: it answers while the first one is blocked.
_RemoteHost: Any = _ray.remote(concurrency_groups={"control": 1})(Host)


class Cluster:
    """Workers in their processes, from placement to a clean end."""

    def __init__(
        self, config: ClusterConfig, budgets: BudgetConfig, run_dir: Path, asks: Sequence[Ask]
    ) -> None:
        """``asks``: all workers that will be spawned; they are placed together, once."""
        twice = [name for name, count in Counter(ask.name for ask in asks).items() if count > 1]
        if twice:
            raise ValueError(f"workers {twice} are asked for twice: their logs would mix")
        self._config = config
        self._budgets: dict[str, float] = asdict(budgets)
        self._logs = run_dir.absolute() / "logs"
        self._asks = {ask.name: ask for ask in asks}
        self._workers: dict[str, Worker] = {}
        self._session = Session(config, self._logs)
        self._dump_stacks = StackDumps(run_dir.absolute(), self._workers)
        self._group: PlacementGroup | None = None
        self._node_ids: list[str] = []
        """Of each ask, in their order."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start or join Ray and reserve room for every worker.

        Raises:
            ConfigError: the cluster can't hold what is asked.
        """
        if _ray.is_initialized():
            raise RuntimeError("Ray already runs in this process: one cluster at a time")
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            cores = sum(max(ask.cpus, LEAST_CPUS) for ask in self._asks.values())
            self._session.join(cores=math.ceil(cores))
            await self._place()
        except BaseException:
            await self.stop()
            raise

    async def _place(self) -> None:
        asks = list(self._asks.values())
        if not asks:
            return
        refuse_impossible(asks, [node["Resources"] for node in _ray.nodes() if node["Alive"]])
        bundles = [
            {"CPU": max(ask.cpus, LEAST_CPUS)} | ({"GPU": ask.gpus} if ask.gpus else {})
            for ask in asks
        ]
        self._group = placement_group(cast(Any, bundles), strategy=self._config.strategy)
        seconds = self._budgets["start"]
        if not await asyncio.to_thread(self._group.wait, seconds):
            free = _ray.available_resources()
            raise ConfigError(
                f"{describe(asks, 'cpus')}, {describe(asks, 'gpus') or 'no GPUs'}: no room within "
                f"budgets.start={seconds:g} s under cluster.strategy={self._config.strategy}, with "
                f"{free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs free over all nodes. "
                "Ask for less, wait for other jobs to end, or use cluster.strategy=PACK"
            )
        nodes: dict[int, str] = cast(Any, placement_group_table)(self._group)["bundles_to_node_id"]
        self._node_ids = [nodes[index] for index in range(len(asks))]

    async def spawn(
        self,
        name: str,
        cls_path: str,
        kwargs: Mapping[str, Any] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        concurrency: int = 1,
    ) -> Worker:
        """Start the worker that was asked for as ``name`` and construct its object there.

        Args:
            cls_path: ``module:Class``, imported in the worker alone.
            kwargs: of the constructor; what plug-in files made is imported there from its source.
            env: environment variables, set before anything is imported.
            concurrency: calls that may overlap.

        Raises:
            WorkerDied: the process ended while it started.
            PhaseTimeout: it was not up within ``budgets.start``.
            Exception: what the import or the constructor raised.
        """
        if name not in self._asks or name in self._workers:
            raise ValueError(
                f"worker {name!r}: spawn each of {sorted(self._asks)} once, so that it has its "
                "place; add an Ask for any other"
            )
        ask, index = self._asks[name], list(self._asks).index(name)
        reserved = PlacementGroupSchedulingStrategy(
            cast(PlacementGroup, self._group), placement_group_bundle_index=index
        )
        options = {"num_cpus": max(ask.cpus, LEAST_CPUS), "scheduling_strategy": reserved}
        worker = self._worker(ask, self._node_ids[index])
        host = self._host(ask, env or {}, concurrency, options)
        await worker.start(host, cls_path, kwargs or {}, concurrency)
        return worker

    def nodes(self) -> list[str]:
        """Ids of the nodes that are alive, as Ray knows them."""
        return [node["NodeID"] for node in _ray.nodes() if node["Alive"]]

    async def spawn_beside(
        self,
        ask: Ask,
        node_id: str,
        cls_path: str,
        kwargs: Mapping[str, Any] | None = None,
        *,
        concurrency: int = 1,
    ) -> Worker:
        """As ``spawn``, on that node and with no room reserved: for a worker that was not asked
        for at the start, such as one on each node or the successor of one that died."""
        if ask.name in self._workers:
            raise ValueError(f"worker {ask.name!r} is there already: their logs would mix")
        here = NodeAffinitySchedulingStrategy(node_id, soft=False)
        worker = self._worker(ask, node_id)
        host = self._host(ask, {}, concurrency, {"num_cpus": 0, "scheduling_strategy": here})
        await worker.start(host, cls_path, kwargs or {}, concurrency)
        return worker

    def _worker(self, ask: Ask, node_id: str) -> Worker:
        self._workers[ask.name] = worker = Worker(
            ask,
            node_id=node_id,
            logs=self._logs,
            budgets=self._budgets,
            dump_stacks=self._dump_stacks,
        )
        return worker

    def _host(
        self, ask: Ask, env: Mapping[str, str], concurrency: int, options: Mapping[str, Any]
    ) -> Any:
        return _RemoteHost.options(
            **options,
            num_gpus=ask.gpus,
            max_concurrency=concurrency,
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": self._environment(ask, env)},
        )

    def _environment(self, ask: Ask, env: Mapping[str, str]) -> dict[str, str]:
        made = {"OMP_NUM_THREADS": str(max(1, int(ask.cpus))), "PYTHONUNBUFFERED": "1"}
        if not ask.gpus:
            made["CUDA_VISIBLE_DEVICES"] = ""  # or it would sit on another worker's GPU
        merged = {**made, **self._config.env, **env}
        return merged | {"PYTHONPATH": python_path(merged)}

    def layout(self) -> list[Residence]:
        """Where each worker lives, in the order in which they were spawned."""
        return [
            Residence(
                worker=worker.name,
                node=identity.hostname,
                pid=identity.pid,
                cpus=worker.ask.cpus,
                gpus=identity.gpus,
            )
            for worker in self._workers.values()
            if (identity := worker.identity) is not None
        ]

    async def stop(self) -> None:
        """Ask every worker to close, then kill all of them with their children, and leave Ray.

        Raises:
            RuntimeError: a process is still there afterwards; gives its pid.
        """
        left: list[str] = []
        families: dict[str, list[ProcessId]] = {}
        try:
            # Before they close, too: a child whose parent has gone can't be found any more.
            families = await self._families({})
            await self._close_workers()
            families = await self._families(families)
        finally:
            try:
                left = await self._kill(families)
            finally:
                self._leave()
        if left:
            raise RuntimeError(
                f"processes outlived SIGKILL by {END_SECONDS:g} s: {', '.join(left)}. They wait "
                "in the kernel, often for a GPU or a network disk, and keep their memory until then"
            )

    async def _close_workers(self) -> None:
        asked = [w for w in self._workers.values() if w.identity is not None and w.answers]
        closing = [worker.actor.close.remote() for worker in asked]
        seconds = self._budgets["stop"]
        results = await asyncio.gather(
            *(within(seconds, reference) for reference in closing), return_exceptions=True
        )
        for worker, result in zip(asked, results, strict=True):
            if isinstance(result, BaseException):
                log.warning("%s did not close cleanly and is killed: %r", worker.name, result)

    async def _families(self, known: Mapping[str, list[ProcessId]]) -> dict[str, list[ProcessId]]:
        """By node: the processes of its workers with their children, beside those ``known``."""
        pids: dict[str, list[int]] = {}
        for worker in self._workers.values():
            if worker.identity is not None:
                pids.setdefault(worker.node_id, []).append(worker.identity.pid)
        nodes = list(pids)
        found = await asyncio.gather(
            *(_answer(on_node(node, family, pids[node]), []) for node in nodes)
        )
        return {
            node: list({*known.get(node, ()), *members})
            for node, members in zip(nodes, found, strict=True)
        }

    async def _kill(self, families: Mapping[str, list[ProcessId]]) -> list[str]:
        """Kill them; returns those that are still there, as ``pid on node``."""
        for worker in self._workers.values():
            if worker.actor is not None:
                _ray.kill(worker.actor, no_restart=True)
        self._workers.clear()
        bounds = {"patience": EXIT_SECONDS, "seconds": END_SECONDS}
        left = await asyncio.gather(
            *(_answer(on_node(node, end, f, **bounds), []) for node, f in families.items())
        )
        return [
            f"{pid} on node {node}"
            for node, pids in zip(families, left, strict=True)
            for pid in pids
        ]

    def _leave(self) -> None:
        """Whatever part of ``start`` was reached is undone; a second time does nothing."""
        if self._group is not None:
            remove_placement_group(self._group)
            self._group = None
        self._session.leave()


async def _answer(asked: Awaitable[T], otherwise: T) -> T:
    """A node that is gone took its processes along, so it keeps nobody from stopping."""
    try:
        return await asked
    except NodeGone as error:
        log.warning("stopping without it: %s", error)
        return otherwise
