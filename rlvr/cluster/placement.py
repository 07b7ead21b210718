"""What workers ask of a cluster, where they end up, and what to say when there is no room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlvr.config import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one worker needs of its node."""

    name: str
    """Such as ``rollout-0``."""
    section: str
    """Of the settings that ``cpus`` and ``gpus`` come from, such as ``rollout``."""
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Residence:
    """Who lives where: one row of the table at a run's start."""

    worker: str
    node: str
    pid: int
    cpus: float
    gpus: str
    """Device numbers on the node; empty without one."""


def refuse_impossible(asks: Sequence[Ask], nodes: Sequence[Mapping[str, float]]) -> None:
    """Refuse what the cluster could not hold even if it were idle.

    Args:
        nodes: what each node has in all, by Ray's names ``CPU`` and ``GPU``.

    Raises:
        ConfigError: too much in all, or for one worker, whose share must be on one node.
    """
    for resource, field in (("GPU", "gpus"), ("CPU", "cpus")):
        wanted: list[float] = [getattr(ask, field) for ask in asks]
        has = [node.get(resource, 0.0) for node in nodes]
        if sum(wanted) <= sum(has) and max(wanted, default=0) <= max(has, default=0):
            continue
        raise ConfigError(
            f"{describe(asks, field)}: {sum(wanted):g} {resource}s asked, the cluster has "
            f"{sum(has):g} (at most {max(has, default=0):g} on one of its {len(has)} nodes). "
            + _remedy(resource, asks, sum(has))
        )


def describe(asks: Sequence[Ask], field: str) -> str:
    """Such as ``rollout.gpus=1 x 2 workers + learner.gpus=1 x 1 worker``."""
    groups = Counter((ask.section, float(getattr(ask, field))) for ask in asks)
    return " + ".join(
        f"{section}.{field}={amount:g} x {count} worker{'s' * (count > 1)}"
        for (section, amount), count in groups.items()
        if amount
    )


def _remedy(resource: str, asks: Sequence[Ask], has: float) -> str:
    settings = list(dict.fromkeys(ask.section for ask in asks if resource == "CPU" or ask.gpus))
    if resource == "GPU" and not has:
        zeros = " ".join(f"{section}.gpus=0" for section in settings)
        return f"On a machine without a GPU use recipe=grpo_tiny, or {zeros}"
    fewer = " or ".join(f"{section}.workers" for section in settings)
    return f"Lower {fewer}, or name a larger cluster with cluster.address"
