"""Short functions on the machine where a worker lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

NODE_SECONDS = 20.0
"""For a short task on another node: a Python process has to start there first."""

P = ParamSpec("P")
T = TypeVar("T")


class NodeGone(RuntimeError):
    """A node is dead or out of reach."""


async def within(seconds: float, awaitable: Awaitable[T]) -> T:
    """Await with a bound. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        return await awaitable


async def on_node(node_id: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` on that node: in a thread on this one, as a Ray task on another.

    The function bounds itself; on another node its start is bounded too.

    Raises:
        NodeGone: the other node did not run it in time, or is dead.
    """
    context = cast(Any, ray).get_runtime_context()
    if node_id == context.get_node_id():
        return await asyncio.to_thread(function, *args, **kwargs)
    task = (
        cast(Any, ray)
        .remote(function)
        .options(
            num_cpus=0,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        )
    )
    try:
        return await within(NODE_SECONDS, task.remote(*args, **kwargs))
    except RayTaskError:
        raise
    except (TimeoutError, RayError) as error:
        raise NodeGone(f"node {node_id} does not answer: {error!r}") from error
