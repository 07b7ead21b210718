"""Measures a policy on held-out problems: greedy, and as the mean of k samples.

    python -m rlvr.evaluate recipe=grpo_tiny model=runs/grpo_tiny/NAME/checkpoints/step-000060/hf

Takes the settings of a recipe as ``rlvr.train`` does, starts its engines and its reward workers,
and prints one JSON object of metrics.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from rlvr import assembly, recipes
from rlvr.cluster.cluster import Cluster
from rlvr.config import ConfigError, RunConfig
from rlvr.config_checks import check_length
from rlvr.model_directory import resolve_model
from rlvr.rollout.engine import Sampling
from rlvr.types import GradedGroup, Outcome, Problem, RolloutGroup


class Rollouts(Protocol):
    async def generate(
        self, problem: Problem, *, n: int, epoch_key: str, sampling: Sampling
    ) -> RolloutGroup: ...


class Grader(Protocol):
    async def grade(self, group: RolloutGroup) -> GradedGroup: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Shares of answers that the verifier called correct, in [0, 1]."""

    greedy: float
    mean_at_k: float
    """Over all problems and their k samples."""
    k: int
    problems: int
    ungraded: int
    """Answers that the grader could not judge; they count as not correct."""
    by_source: dict[str, tuple[float, float]]
    """Greedy and mean@k per source."""
    seconds: float

    def metrics(self) -> dict[str, float]:
        """Under verl's names."""
        named = {"all": (self.greedy, self.mean_at_k), **self.by_source}
        values: dict[str, float] = {
            "timing_s/testing": self.seconds,
            "val-aux/all/ungraded": float(self.ungraded),
        }
        for source, (greedy, mean) in named.items():
            values[f"val-core/{source}/acc/greedy"] = greedy
            values[f"val-core/{source}/acc/mean@{self.k}"] = mean
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """Runs the held-out problems through the engines and the very grader that training uses."""

    problems: Sequence[Problem]
    rollouts: Rollouts
    grader: Grader
    sampling: Sampling
    """As in training; the greedy answer differs in its temperature alone."""
    samples: int
    concurrency: int
    progress: Callable[[str, int, int], None]

    async def __call__(self, name: str) -> Accuracy:
        """``name`` is shown with the progress, such as ``before``."""
        began = time.monotonic()
        gate = asyncio.Semaphore(self.concurrency)
        done = 0

        async def judge(problem: Problem) -> tuple[Problem, list[bool], list[bool], int]:
            nonlocal done
            async with gate:
                greedy, sampled = await asyncio.gather(
                    self._grade(problem, 1, replace(self.sampling, temperature=0.0, top_p=1.0)),
                    self._grade(problem, self.samples, self.sampling),
                )
            done += 1
            self.progress(f"evaluation {name}", done, len(self.problems))
            failed = len(greedy.ungraded) + len(sampled.ungraded)
            return problem, _right(greedy), _right(sampled), failed

        async with asyncio.TaskGroup() as tasks:
            jobs = [tasks.create_task(judge(problem)) for problem in self.problems]
        rows = [job.result() for job in jobs]
        per_source: defaultdict[str, list[tuple[list[bool], list[bool]]]] = defaultdict(list)
        for problem, greedy, sampled, _ in rows:
            per_source[problem.source or "default"].append((greedy, sampled))
        everything = [pair for pairs in per_source.values() for pair in pairs]
        return Accuracy(
            greedy=_share(greedy for greedy, _ in everything),
            mean_at_k=_share(sampled for _, sampled in everything),
            k=self.samples,
            problems=len(rows),
            ungraded=sum(failed for *_, failed in rows),
            by_source={
                source: (_share(g for g, _ in pairs), _share(s for _, s in pairs))
                for source, pairs in sorted(per_source.items())
            },
            seconds=time.monotonic() - began,
        )

    async def _grade(self, problem: Problem, n: int, sampling: Sampling) -> GradedGroup:
        group = await self.rollouts.generate(
            problem, n=n, epoch_key="evaluation", sampling=sampling
        )
        return await self.grader.grade(group)


def _right(group: GradedGroup) -> list[bool]:
    judged = [verdict.outcome is Outcome.CORRECT for verdict in group.verdicts_G]
    return judged + [False] * len(group.ungraded)


def _share(answers: Iterable[list[bool]]) -> float:
    flat = [right for row in answers for right in row]
    return sum(flat) / len(flat)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 measured, 2 a setting was refused; failures of workers are raised."""
    try:
        run = recipes.load(sys.argv[1:] if argv is None else argv)
        model = resolve_model(run.model)
        check_length(run, model)
        data = assembly.read_data(run, model)
        if not data.held_out:
            raise ConfigError(
                "evaluation.problems: the recipe has no held-out problems; give some, such as "
                "evaluation.problems._target_=rlvr.problems.dataset.Dataset "
                "evaluation.problems.path=FILE"
            )
    except ConfigError as error:
        print(f"rlvr: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="rlvr-evaluate-") as logs:
        accuracy = asyncio.run(_measure(run, model, data, Path(run.run_dir or logs)))
    print(json.dumps(accuracy.metrics()))
    return 0


async def _measure(run: RunConfig, model: str, data: assembly.Data, run_dir: Path) -> Accuracy:
    asks = assembly.asks(run, learner=False)
    async with Cluster(run.cluster, run.budgets, run_dir, asks) as cluster:
        samplers = await assembly.start_samplers(run, model, data, cluster)
        return await evaluator(run, data, samplers, lambda phase, done, total: None)("held-out")


def evaluator(
    run: RunConfig,
    data: assembly.Data,
    samplers: assembly.Samplers,
    progress: Callable[[str, int, int], None],
) -> Evaluator:
    """The evaluator that a run's settings ask for."""
    return Evaluator(
        problems=data.held_out,
        rollouts=samplers.rollouts,
        grader=samplers.rewards,
        sampling=assembly.sampling(run),
        samples=run.evaluation.samples,
        concurrency=run.rollout.concurrency,
        progress=progress,
    )


if __name__ == "__main__":
    sys.exit(main())
