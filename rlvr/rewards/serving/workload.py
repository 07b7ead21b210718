"""What grading did and how long it took, in numbers that add up over workers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlvr.rewards.serving.jail import Judged

_LATENCIES = 2000
"""Kept of a step and worker: enough for a p99 that rests on twenty of them."""


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

    def weighted(self) -> list[tuple[float, float]]:
        """The values kept, each with the number of values seen that it stands for."""
        return [(value, self._seen / len(self._kept)) for value in self._kept]

    def quantile(self, q: float) -> float:
        """The value below which a share ``q`` lies; 0 where nothing was seen."""
        return quantile(self.weighted(), q)


def quantile(weighted: Sequence[tuple[float, float]], q: float) -> float:
    """The first value, of values with weights, at and below which more than a share ``q`` of the
    weight lies; the largest where none is, 0 without values."""
    reach = q * sum(weight for _, weight in weighted)
    last = 0.0
    for value, weight in sorted(weighted):
        last, reach = value, reach - weight
        if reach < 0:
            break
    return last


@dataclass(slots=True, kw_only=True)
class Workload:
    """Counts and times of one worker over a stretch of time."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    killed: int = 0
    died: int = 0
    cached: int = 0
    """Verdicts from a cache."""
    working_seconds: float = 0.0
    """Of all processes together."""
    capacity_seconds: float = 0.0
    """What these could have been, had no process ever been idle."""
    queue_seconds: float = 0.0
    """From the arrival of each text to its dispatch, summed over texts."""
    latency: Reservoir = field(default_factory=lambda: Reservoir(_LATENCIES))
    """Seconds from the dispatch of each text to its verdict."""

    def add(self, judged: Judged, *, queue_seconds: float) -> None:
        """Count a dispatch whose texts waited for ``queue_seconds`` each."""
        for verdict in judged.verdicts:
            self.outcomes[verdict.outcome] += 1
            self.latency.add(judged.seconds)
        self.cached += judged.cached
        self.working_seconds += judged.seconds
        self.queue_seconds += queue_seconds * len(judged.verdicts)


def metrics(workloads: Sequence[Workload]) -> dict[str, float]:
    """What ``rlvr.metrics`` lists under ``reward/``, over all workers; what has no population,
    such as the latency of no verdict, is left out."""
    verdicts = sum(load.outcomes.total() for load in workloads)
    cached = sum(load.cached for load in workloads)
    capacity = sum(load.capacity_seconds for load in workloads)
    counted = {
        "reward/killed": float(sum(load.killed for load in workloads)),
        "reward/died": float(sum(load.died for load in workloads)),
        "reward/cache_hits": float(cached),
    }
    if capacity:
        counted["reward/busy"] = sum(load.working_seconds for load in workloads) / capacity
    if not verdicts:
        return counted
    latencies = [pair for load in workloads for pair in load.latency.weighted()]
    return counted | {
        "reward/cache_hit_rate": cached / verdicts,
        "reward/queue_seconds": sum(load.queue_seconds for load in workloads) / verdicts,
        "reward/latency_seconds/p50": quantile(latencies, 0.5),
        "reward/latency_seconds/p99": quantile(latencies, 0.99),
    }
