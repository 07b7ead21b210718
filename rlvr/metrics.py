"""Every metric: its name, unit, population and formula; and how a step's numbers are summed.

``python -m rlvr.metrics`` prints the table for the documentation. Names are verl's wherever verl
has one. A part of a name in angle brackets stands for any text without a slash, but ``<source>``
and ``<part>``, which may hold slashes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from rlvr.metric_tables import grading, learner, run
from rlvr.metric_tables.metric import Metric

METRICS: dict[str, Metric] = {**grading.METRICS, **learner.METRICS, **run.METRICS}


def describe(key: str) -> Metric | None:
    """What a logged key means; None for a key that no metric has, as a plug-in's own."""
    if key in METRICS:
        return METRICS[key]
    matches = (metric for name, metric in METRICS.items() if _pattern(name).fullmatch(key))
    return next(matches, None)


def _pattern(name: str) -> re.Pattern[str]:
    literal = re.escape(name).replace("<source>", ".+").replace("<part>", ".+")
    return re.compile(re.sub(r"<\w+>", "[^/]+", literal))


def markdown() -> str:
    """The table for the documentation."""
    lines = ["| metric | unit | over | what it is | what to watch for |", "|---|---|---|---|---|"]
    for name, m in METRICS.items():
        cells = (cell.replace("|", "\\|") for cell in (m.unit, m.over, m.formula, m.watch))
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


@dataclass(slots=True)
class Window:
    """A step's numbers, kept as sums and counts so that a mean is over all of its population.

    Micro-batches, ranks and groups of different sizes may be added in any order; nothing averages
    averages. What was never added is not reported, rather than reported as 0.
    """

    _totals: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    _counts: dict[str, float] = field(default_factory=dict[str, float])
    _sums: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    _largest: dict[str, float] = field(default_factory=dict[str, float])
    _smallest: dict[str, float] = field(default_factory=dict[str, float])

    def mean(self, key: str, total: float, count: float = 1) -> None:
        """Add a ``total`` over ``count`` members of the population; the mean is reported."""
        self._totals.setdefault(key, []).append(total)
        self._counts[key] = self._counts.get(key, 0) + count

    def total(self, key: str, amount: float = 1) -> None:
        """Add to a sum, such as a number of groups; an ``amount`` of 0 makes it appear."""
        self._sums.setdefault(key, []).append(amount)

    def largest(self, key: str, value: float) -> None:
        """Keep the largest value."""
        self._largest[key] = max(self._largest.get(key, value), value)

    def smallest(self, key: str, value: float) -> None:
        """Keep the smallest value."""
        self._smallest[key] = min(self._smallest.get(key, value), value)

    def add(self, other: Window) -> None:
        """Add another window's population to this one."""
        for key, totals in other._totals.items():
            self._totals.setdefault(key, []).extend(totals)
            self._counts[key] = self._counts.get(key, 0) + other._counts[key]
        for key, amounts in other._sums.items():
            self._sums.setdefault(key, []).extend(amounts)
        for key, value in other._largest.items():
            self.largest(key, value)
        for key, value in other._smallest.items():
            self.smallest(key, value)

    def values(self) -> dict[str, float]:
        """The metrics of all that was added; a mean over no member is left out."""
        counted = {key: count for key, count in self._counts.items() if count}
        means = {key: _sum(self._totals[key]) / count for key, count in counted.items()}
        sums = {key: _sum(amounts) for key, amounts in self._sums.items()}
        return {**means, **sums, **self._largest, **self._smallest}

    def drain(self) -> dict[str, float]:
        """The metrics, leaving the window empty for the next step."""
        values = self.values()
        for part in (self._totals, self._counts, self._sums, self._largest, self._smallest):
            part.clear()
        return values


def _sum(values: list[float]) -> float:
    # fsum is exact, so the order of adding leaves no trace; but it raises on inf - inf.
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)


if __name__ == "__main__":
    print(markdown())
