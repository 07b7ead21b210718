"""The training loop: who hands what to whom, and how far sampling may run ahead.

    problems -> rollouts -> grader -> filter -> [ ready ] -> credit -> learner
                   ^                                                      |
                   +------------------------ weights ---------------------+

One task, ``_sample``, draws problems, observes graded groups and fills ``ready``; it alone talks to
the problem stream and to the filter, so their states need no lock. ``run`` makes a step of every
``problems_per_step`` ready groups.

A group holds a slot from before it is sampled until the weights that it trained are loaded, and
there are ``max_lag // updates_per_step + 1`` steps' worth of slots: sampling cannot run further
ahead than may train. What a slow rollout overtakes all the same is dropped when a batch is made.
On-policy (``max_lag=0``) groups are observed in the order in which they were drawn, so that a
batch does not depend on which engine was faster.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rlvr.credit import Credit
from rlvr.difficulty.base import DifficultyFilter
from rlvr.metrics import Window
from rlvr.problems.base import ProblemStream
from rlvr.sinks.base import Sink
from rlvr.step_report import Verdicts, advice, describe
from rlvr.types import (
    GradedGroup,
    Problem,
    RolloutGroup,
    TrainBatch,
    WeightVersion,
)

Metrics = dict[str, float]
MOST_UNWANTED = 10_000_000
"""Problems in a row that a filter may pass over before the run ends for it."""


class Rollouts(Protocol):
    async def generate(self, problem: Problem, *, n: int, epoch_key: str) -> RolloutGroup: ...


class Grader(Protocol):
    async def grade(self, group: RolloutGroup) -> GradedGroup: ...


class Learner(Protocol):
    async def step(self, batch: TrainBatch) -> Mapping[str, float]: ...


class Weights(Protocol):
    async def sync(self, version: WeightVersion) -> Mapping[str, float]:
        """Bring every engine to the learner's weights; return once each has confirmed them."""
        ...


class Steering(Protocol):
    """Something that follows what a step measured, such as the sampling temperature."""

    def observe(self, metrics: Mapping[str, float]) -> Metrics: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Starved(RuntimeError):
    """Groups come back but none of them may train."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One problem taken from the stream."""

    index: int
    """Counts draws over the whole run."""
    problem: Problem
    epoch: int


@dataclass(kw_only=True)
class Loop:
    problems: ProblemStream
    rollouts: Rollouts
    grader: Grader
    filter: DifficultyFilter
    credit: Credit
    learner: Learner
    weights: Weights
    sink: Sink
    steps: int
    problems_per_step: int
    rollouts_per_problem: int
    updates_per_step: int = 1
    max_lag: int = 0
    concurrency: int = 64
    min_graded: int = 2
    relax_after_steps: int = 4
    """Steps' worth of groups dropped in a row after which dropped groups train all the same, so
    that the run goes on where everybody sees it; 0 keeps on sampling."""
    max_starved_steps: int = 20
    """Steps' worth of groups dropped in a row that end the run."""
    max_failure_rate: float = 1.0
    """Share of a step's verdicts that may be ``timeout`` or ``error``."""
    grading: Callable[[], Awaitable[Metrics]] | None = None
    """What grading did since this was last asked, such as how long verdicts took."""
    steering: Steering | None = None
    batch_seconds: float = 3600.0
    """Longest wait for a batch to fill."""
    evaluate: Callable[[int], Awaitable[Metrics]] | None = None
    """Called after a step with its number; returns nothing where no evaluation is due."""
    save: Callable[[int, dict[str, Any]], Awaitable[Metrics]] | None = None
    """Called after a step with its number and the loop's state; decides whether one is due."""

    step: int = field(default=0, init=False)
    version: WeightVersion = field(default=WeightVersion(0), init=False)
    totals: Counter[str] = field(default_factory=Counter[str], init=False)
    """Over the whole run. ``drawn`` = ``trained`` + every ``dropped/...`` + in flight + ready."""
    stop: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    """Set it to end the run at the next safe place, with everything accounted for."""

    def __post_init__(self) -> None:
        self._stream: Iterator[Problem] | None = None
        self._flying: dict[int, Draw] = {}
        self._finished: dict[int, GradedGroup] = {}
        self._again: deque[Draw] = deque()
        self._ready: deque[GradedGroup] = deque()
        self._training: int = 0
        self._events: asyncio.Queue[tuple[Draw, GradedGroup] | None] = asyncio.Queue()
        self._filled = asyncio.Event()
        self._window = Window()
        self._window_began = time.monotonic()
        self._starved: Counter[str] = Counter()
        self._verdicts = Verdicts(
            max_failure_rate=self.max_failure_rate,
            per_step=self.problems_per_step * self.rollouts_per_problem,
        )

    # -- sampling -------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """Groups that may be in flight, ready or in training at a time."""
        return (self.max_lag // self.updates_per_step + 1) * self.problems_per_step

    async def _sample(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                while (
                    len(self._flying) + len(self._ready) + self._training < self.slots
                    and len(self._flying) < self.concurrency
                ):
                    draw = self._draw()
                    self._flying[draw.index] = draw
                    tasks.create_task(self._roll(draw))
                event = await self._events.get()  # bounded: `run` waits for batches with a budget
                if event is not None:
                    draw, group = event
                    self._finished[draw.index] = group
                    for index in self._observable():
                        self._observe(self._flying.pop(index), self._finished.pop(index))

    async def _roll(self, draw: Draw) -> None:
        group = await self.rollouts.generate(
            draw.problem, n=self.rollouts_per_problem, epoch_key=str(draw.epoch)
        )
        self._events.put_nowait((draw, await self.grader.grade(group)))

    def _draw(self) -> Draw:
        if self._again:  # drawn before an interruption: the filter has been asked already
            return self._again.popleft()
        if self._stream is None:
            self._stream = iter(self.problems)
        for passed, problem in enumerate(self._stream):
            if passed > MOST_UNWANTED:
                raise Starved(
                    f"the filter wanted none of {passed} problems in a row: let problems rest for "
                    "less long, or add some"
                )
            if self.filter.wants(problem):
                draw = Draw(self.totals["drawn"], problem, self.problems.epoch)
                self.totals["drawn"] += 1
                return draw
            self._window.total("difficulty/resting")
        raise ValueError("the problem stream ended; it has to be endless (see ProblemStream)")

    def _observable(self) -> list[int]:
        if self.max_lag > 0:
            return sorted(self._finished)
        done: list[int] = []
        for index in sorted(self._flying):
            if index not in self._finished:
                break
            done.append(index)
        return done

    def _observe(self, draw: Draw, group: GradedGroup) -> None:
        self._window.total("perf/tokens", group.tokens)
        self._window.total("perf/samples", len(group.rollouts_G) + len(group.ungraded))
        self._verdicts.add(group, self._window)
        if len(group.rollouts_G) < self.min_graded:
            self._drop(draw.problem, "ungraded")
            return
        self._window.mean("difficulty/pass_rate", group.pass_rate)
        self._window.mean("critic/score/mean", sum(group.rewards_G), len(group.rewards_G))
        decision = self.filter.observe(group)
        if decision.keep:
            self._window.total("difficulty/kept")
            self._starved.clear()
        elif self._relaxes():
            self._window.total("difficulty/relaxed")
            self._starve(draw.problem, decision.reason)
        else:
            self._drop(draw.problem, decision.reason)
            return
        self._ready.append(group)
        if len(self._ready) >= self.problems_per_step:
            self._filled.set()

    def _relaxes(self) -> bool:
        limit = self.relax_after_steps * self.problems_per_step
        return limit > 0 and self._starved.total() >= limit

    def _drop(self, problem: Problem, reason: str) -> None:
        self.totals[f"dropped/{reason}"] += 1
        self._window.total(f"difficulty/{reason}")
        self._window.total("difficulty/dropped")
        self._starve(problem, reason)

    def _starve(self, problem: Problem, reason: str) -> None:
        self._starved[reason] += 1
        if self._starved.total() >= self.max_starved_steps * self.problems_per_step:
            raise Starved(
                f"the last {self._starved.total()} groups ({self.max_starved_steps} steps' worth) "
                f"were all to be dropped: {dict(self._starved)}, lately problem {problem.id!r}. "
                f"{advice(self._starved.most_common(1)[0][0])}"
            )

    # -- training -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Train until ``steps``, or until ``stop`` is set.

        Raises:
            Starved: the filter or the grader let nothing through.
            GraderFailing: too many verdicts were ``timeout`` or ``error``.
            TimeoutError: a batch did not fill within ``batch_seconds``.
        """
        self._window_began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            sampler = tasks.create_task(self._sample())
            while self.step < self.steps and not self.stop.is_set():
                began = time.monotonic()
                groups_P = await self._next_batch()
                if groups_P is None:
                    break
                metrics = await self._train(groups_P, began)
                self.sink.log(self.step, metrics)
            sampler.cancel()

    async def _next_batch(self) -> list[GradedGroup] | None:
        """The oldest groups that are fresh enough, or None where the run is to stop."""
        deadline = time.monotonic() + self.batch_seconds
        while True:
            self._drop_stale()
            if len(self._ready) >= self.problems_per_step:
                self._training = self.problems_per_step
                return [self._ready.popleft() for _ in range(self.problems_per_step)]
            self._filled.clear()
            left = deadline - time.monotonic()
            if left > 0:
                await self._wait_until_filled_or_stopped(left)
            if self.stop.is_set():
                return None
            if left <= 0:
                raise TimeoutError(
                    f"step {self.step + 1}: {len(self._ready)} of {self.problems_per_step} groups "
                    f"were ready after {self.batch_seconds:.0f} s, {len(self._flying)} in flight. "
                    "Raise budgets.batch, or look at the engines' logs for why they are slow"
                )

    async def _wait_until_filled_or_stopped(self, seconds: float) -> None:
        tasks = [asyncio.create_task(event.wait()) for event in (self._filled, self.stop)]
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def _drop_stale(self) -> None:
        fresh = deque(g for g in self._ready if self.version - g.version <= self.max_lag)
        if stale := len(self._ready) - len(fresh):
            self.totals["dropped/stale"] += stale
            self._window.total("loop/stale", stale)
            self._ready = fresh
            self._events.put_nowait(None)  # slots are free again

    async def _train(self, groups_P: list[GradedGroup], began: float) -> Metrics:
        metrics: Metrics = {"timing_s/gen": time.monotonic() - began}
        lags = [
            self.version - version
            for group in groups_P
            for rollout in group.rollouts_G
            for version in rollout.versions_T
        ]
        clock = time.monotonic()
        credited = await self.credit(groups_P, self.version)
        metrics |= credited.metrics
        metrics["timing_s/adv"] = time.monotonic() - clock
        clock = time.monotonic()
        if credited.batch.samples:
            metrics |= await self.learner.step(credited.batch)
        if self.steering is not None:
            metrics |= self.steering.observe(metrics)
        metrics["timing_s/update_actor"] = time.monotonic() - clock
        self.step += 1
        self.version = WeightVersion(self.version + self.updates_per_step)
        clock = time.monotonic()
        metrics |= await self.weights.sync(self.version)
        metrics["timing_s/sync"] = time.monotonic() - clock
        self.totals["trained"] += len(groups_P)
        self._training = 0
        metrics |= describe(groups_P)
        metrics |= {
            "loop/version": float(self.version),
            "loop/lag_mean": sum(lags) / len(lags),
            "loop/lag_max": float(max(lags)),
            "loop/in_flight": float(len(self._flying)),
            "loop/ready": float(len(self._ready)),
        }
        metrics |= self._take_window(time.monotonic() - began)
        if self.grading is not None:
            metrics |= await self.grading()
        if self.evaluate is not None:
            metrics |= await self.evaluate(self.step)
        if self.save is not None:
            metrics |= await self.save(self.step, self.state_dict())
        self._events.put_nowait(None)
        return metrics

    def _take_window(self, seconds: float) -> Metrics:
        """What was sampled since the last step, kept and dropped alike."""
        metrics = {"perf/tokens": 0.0, "perf/samples": 0.0} | self._window.drain()
        metrics |= self._verdicts.take(self.step)
        self.totals["samples"] += int(metrics["perf/samples"])
        self.totals["tokens"] += int(metrics["perf/tokens"])
        # Not of the step: what was sampled during an evaluation before it is in this window, too.
        now = time.monotonic()
        metrics["perf/throughput"] = metrics["perf/tokens"] / (now - self._window_began)
        self._window_began = now
        metrics["timing_s/step"] = seconds
        return metrics

    # -- resume ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs besides the learner's own state; picklable."""
        totals = self.totals
        held = len(self._flying) + len(self._again) + len(self._ready)
        ended = sum(n for name, n in totals.items() if name.startswith("dropped/"))
        if totals["drawn"] != totals["trained"] + ended + held:
            raise RuntimeError(
                f"accounting is off: {dict(totals)} with {held} groups held; every problem drawn "
                "has to be trained, dropped, in flight or ready"
            )
        return {
            "step": self.step,
            "version": int(self.version),
            "totals": dict(totals),
            "problems": self.problems.state_dict(),
            "filter": self.filter.state_dict(),
            "credit": self.credit.state_dict(),
            "steering": self.steering and self.steering.state_dict(),
            "ready": list(self._ready),
            "starved": dict(self._starved),
            "in_flight": [*self._again, *(self._flying[i] for i in sorted(self._flying))],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken; what was in flight is sampled anew, first."""
        self.step = state["step"]
        self.version = WeightVersion(state["version"])
        self.totals = Counter(state["totals"])
        self.problems.load_state_dict(state["problems"])
        self.filter.load_state_dict(state["filter"])
        self.credit.load_state_dict(state["credit"])
        if self.steering is not None and state["steering"]:
            self.steering.load_state_dict(state["steering"])
        self._ready = deque(state["ready"])
        self._again = deque(state["in_flight"])
        self._starved = Counter(state["starved"])
