"""A training run in the numbers that are compared, whoever made it, and their table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from bench.watched import Process

WARM_STEPS = 3
"""Steps left out of the steady state: compilation, first allocations, the first weight sync."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimizer step."""

    step: int
    seconds: float
    """Without evaluation and checkpoint."""
    trained: int
    """Samples that the update was made of."""
    sampled: int
    """Samples that were generated and graded; above ``trained`` where a filter drops some."""
    sampled_tokens: int
    """Completion tokens of the latter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One greedy pass over the held-out problems, after a step; 0 is the base."""

    step: int
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run, in the numbers that are compared.

    An asynchronous run goes on sampling while it is evaluated, off the clock. So the step that
    follows an evaluation is left out of the rates, and is charged the median of the others where
    it took less.
    """

    name: str
    round: int
    steps: tuple[Step, ...]
    evaluations: tuple[Evaluation, ...]
    startup_seconds: float
    """From the start of the command to the first step or evaluation."""
    process: Process
    target: float

    @property
    def steady(self) -> tuple[Step, ...]:
        """The steps that rates are taken from."""
        evaluated = {evaluation.step for evaluation in self.evaluations}
        return tuple(
            step for step in self.steps if step.step > WARM_STEPS and step.step - 1 not in evaluated
        )

    def rate(self, count: Callable[[Step], int]) -> float | None:
        """What is counted, per second of the steady state; None for a run without one."""
        seconds = sum(step.seconds for step in self.steady)
        return sum(map(count, self.steady)) / seconds if seconds else None

    def train_seconds(self, until: int) -> float:
        """Charged for the steps up to one, and that one."""
        steady = self.steady
        typical = statistics.median(step.seconds for step in steady) if steady else 0.0
        evaluated = {evaluation.step for evaluation in self.evaluations}
        return sum(
            max(step.seconds, typical) if step.step - 1 in evaluated else step.seconds
            for step in self.steps
            if step.step <= until
        )

    @property
    def seconds_to_target(self) -> float | None:
        reached = (e.step for e in self.evaluations if e.accuracy >= self.target)
        step = next(reached, None)
        return None if step is None else self.train_seconds(step)

    @property
    def seconds_with_startup(self) -> float | None:
        reached = self.seconds_to_target
        return None if reached is None else self.startup_seconds + reached

    @property
    def base_accuracy(self) -> float | None:
        return self.evaluations[0].accuracy if self.evaluations else None

    @property
    def final_accuracy(self) -> float | None:
        return self.evaluations[-1].accuracy if self.evaluations else None

    @property
    def peak_mb(self) -> float:
        return self.process.peak_mb


Value = Callable[[Run], float | None]
ROWS: tuple[tuple[str, Value, str, int], ...] = (
    ("samples trained on per second", lambda run: run.rate(lambda step: step.trained), ".1f", +1),
    ("samples generated per second", lambda run: run.rate(lambda step: step.sampled), ".1f", +1),
    ("tokens generated per second", lambda run: run.rate(lambda s: s.sampled_tokens), ".0f", +1),
    ("seconds of training to the target", lambda run: run.seconds_to_target, ".1f", -1),
    ("seconds of start-up", lambda run: run.startup_seconds, ".1f", -1),
    ("seconds of start-up and training", lambda run: run.seconds_with_startup, ".1f", -1),
    ("peak memory (MB)", lambda run: run.peak_mb, ".0f", -1),
    ("accuracy of the base", lambda run: run.base_accuracy, ".3f", 0),
    ("accuracy at the last evaluation", lambda run: run.final_accuracy, ".3f", 0),
)
"""Name, value, format, and whether more is better (+1), worse (-1) or neither (0)."""


def table(runs: Sequence[Run], target: float) -> Table:
    """A row for each number; a ratio above 1 is in favour of rlvr."""
    rounds = max(run.round for run in runs) + 1
    shown = Table(title=f"mean over {rounds} rounds; target: {target:.0%} greedy on held-out")
    shown.add_column("")
    for name in ("rlvr", "TRL", "ratio"):
        shown.add_column(name, justify="right")
    for label, value, form, better in ROWS:
        ours = mean(value(run) for run in runs if run.name == "rlvr")
        theirs = mean(value(run) for run in runs if run.name == "TRL")
        ratio = ""
        if better and ours and theirs:
            ratio = f"{(ours / theirs) ** better:.2f}"
        cells = ("-" if number is None else format(number, form) for number in (ours, theirs))
        shown.add_row(label, *cells, ratio)
    return shown


def mean(values: Iterable[float | None]) -> float | None:
    """None where a round has no value: a mean over the lucky rounds would mislead."""
    known = list(values)
    numbers = [value for value in known if value is not None]
    return statistics.fmean(numbers) if numbers and len(numbers) == len(known) else None


def described(run: Run) -> dict[str, Any]:
    """A run as it is written: what was measured, and the numbers made from it."""
    return asdict(run) | {label: value(run) for label, value, _, _ in ROWS}
