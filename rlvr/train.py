"""Train a policy: ``python -m rlvr.train recipe=grpo_qwen1.5b learner.optimizer.lr=2e-6``.

Exit codes: 0 trained; 1 failed; 2 a setting was refused; 130 interrupted, with a checkpoint.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlvr import assembly, recipes, report
from rlvr.algorithm import Algorithm, algorithm
from rlvr.assembly import Data, Samplers
from rlvr.checkpoint import Checkpoint, CheckpointError, Checkpoints, open_checkpoint
from rlvr.cluster.cluster import Cluster
from rlvr.cluster.interrupt import interruptible
from rlvr.config import ConfigError, RunConfig
from rlvr.config_checks import arithmetic, built, check_length
from rlvr.evaluate import Evaluator, evaluator
from rlvr.gold import check_data
from rlvr.learner.group import LearnerGroup
from rlvr.learner.settings import LearnerSettings
from rlvr.loop import Loop, Metrics
from rlvr.memory import PeakMemory
from rlvr.model_directory import resolve_model
from rlvr.preflight import check_resources
from rlvr.sinks.every import Every
from rlvr.weights.sync import WeightSync

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Check everything that can be checked, then train."""
    began = time.monotonic()
    try:
        run = recipes.load(sys.argv[1:] if argv is None else argv)
        run.run_dir = run.run_dir or str(Path("runs", run.recipe_name, _now()).absolute())
        model = resolve_model(run.model)
        check_length(run, model)
        gold = check_data(run, assembly.read_data(run, model))
        data = gold.data
        parts = algorithm(run)
        settings = assembly.learner_settings(run, model, parts)
        built("filter", run.filter)
        assembly.shapings(run)
        assembly.temperature_control(run)
        check_resources(run, model, settings)
        checkpoints = Checkpoints(root=Path(run.run_dir, "checkpoints"), keep=run.checkpoint.keep)
        resumed = _to_resume(run, checkpoints, assembly.about(run, data))
    except (ConfigError, CheckpointError) as error:
        print(f"rlvr: {error}", file=sys.stderr)
        return 2
    Path(run.run_dir).mkdir(parents=True, exist_ok=True)
    Path(run.run_dir, "config.yaml").write_text(recipes.as_yaml(run))
    gold.write(Path(run.run_dir))
    report.show_plan(
        run,
        parts,
        arithmetic(run),
        problems=len(data.problems.all()),
        held_out=len(data.held_out),
        left_out=data.overlong,
        references=gold.note,
        reward=data.reward,
        layout=data.layout,
    )
    try:
        session = Session(run, model, data, parts, settings, checkpoints, resumed, began)
        return asyncio.run(session.train())
    except asyncio.CancelledError:
        print(
            f"rlvr: interrupted twice, so nothing was saved since the last checkpoint in "
            f"{checkpoints.root}",
            file=sys.stderr,
        )
        return INTERRUPTED
    except Exception as error:
        print(report.failure(error, run.run_dir), file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1


class Session:
    """One start of a run, from an empty cluster to the summary."""

    def __init__(
        self,
        run: RunConfig,
        model: str,
        data: Data,
        algorithm: Algorithm,
        settings: LearnerSettings,
        checkpoints: Checkpoints,
        resumed: Checkpoint | None,
        began: float,
    ) -> None:
        self.run = run
        self.model = model
        self.data = data
        self.algorithm = algorithm
        self.settings = settings
        self.checkpoints = checkpoints
        self.resumed = resumed
        self.began = began
        self.run_dir = Path(run.run_dir)
        self.saved: Checkpoint | None = resumed
        self.sink = Every(
            [
                built(f"sinks[{i}]", node, run_dir=run.run_dir, run_name=self.run_dir.name)
                for i, node in enumerate(run.sinks)
            ]
        )

    async def train(self) -> int:
        """Train to the end or to an interruption, and leave nothing running."""
        run = self.run
        with interruptible() as stop, PeakMemory() as memory:
            try:
                asks = assembly.asks(run, learner=True)
                async with Cluster(run.cluster, run.budgets, self.run_dir, asks) as cluster:
                    samplers, learner = await self._start(cluster)
                    summary = await self._run(samplers, learner, memory, stop)
            finally:
                self.sink.close()
        if summary is None:
            print(
                f"rlvr: interrupted; the run is saved in {self.saved and self.saved.path}. Go on "
                f"with the same command and run_dir={run.run_dir} checkpoint.resume=auto",
                file=sys.stderr,
            )
            return INTERRUPTED
        summary.write(self.run_dir)
        report.show_summary(summary, self.run_dir)
        return 0

    async def _start(self, cluster: Cluster) -> tuple[Samplers, LearnerGroup]:
        self.sink.progress("starting workers", 0, 1)
        async with asyncio.TaskGroup() as tasks:
            sampling = tasks.create_task(
                assembly.start_samplers(self.run, self.model, self.data, cluster)
            )
            learning = tasks.create_task(
                assembly.start_learner(self.run, self.model, cluster, self.settings)
            )
        self.sink.progress("starting workers", 1, 1)
        report.show_layout(cluster.layout())
        return sampling.result(), learning.result()

    async def _run(
        self, samplers: Samplers, learner: LearnerGroup, memory: PeakMemory, stop: asyncio.Event
    ) -> report.Summary | None:
        """The summary, or None where the run was interrupted."""
        measure = self._evaluator(samplers)
        loop = self.loop(samplers, learner, measure)
        loop.stop = stop
        if self.resumed is not None:
            await learner.load(str(self.resumed.learner))
            loop.load_state_dict(self.resumed.loop_state())
        # A run that died before its first checkpoint has logged steps that come again, too.
        self.sink.resume(loop.step + 1 if loop.step else 0)
        await loop.weights.sync(loop.version)
        before = await self._before(measure, loop)
        ready, samples = time.monotonic(), loop.totals["samples"]
        await loop.run()
        seconds = time.monotonic() - ready
        if self.saved is None or self.saved.step != loop.step:
            await self._save(learner, loop.step, loop.state_dict())
        if loop.step < self.run.steps:
            return None
        after = await self._after(measure, loop.step)
        assert self.saved is not None
        return report.Summary(
            recipe=self.run.recipe_name,
            before=before,
            after=after,
            steps=loop.step,
            seconds=time.monotonic() - self.began,
            training_seconds=seconds,
            start_up_seconds=ready - self.began,
            samples=loop.totals["samples"],
            tokens=loop.totals["tokens"],
            samples_per_second=(loop.totals["samples"] - samples) / seconds,
            peak_rss_mb=memory.peak_mb,
            versions=report.versions(),
            checkpoint=str(self.saved.path),
        )

    def loop(self, samplers: Samplers, learner: LearnerGroup, measure: Evaluator | None) -> Loop:
        """The run's loop on workers that are up."""
        run = self.run

        async def evaluate(step: int) -> Metrics:
            if measure is None or not _due(step, run.evaluation.every) or step == run.steps:
                return {}
            return (await measure(f"at step {step}")).metrics()

        async def save(step: int, state: dict[str, Any]) -> Metrics:
            if not _due(step, run.checkpoint.every) and step != run.steps:
                return {}
            return await self._save(learner, step, state)

        grading = assembly.grading(run, self.model, samplers, self.algorithm.probe)
        return Loop(
            problems=self.data.problems,
            rollouts=samplers.rollouts,
            grader=grading.grader,
            filter=built("filter", run.filter),
            credit=self.algorithm.credit(learner),
            learner=learner,
            weights=WeightSync(learner=learner, rollouts=samplers.rollouts),
            sink=self.sink,
            steps=run.steps,
            problems_per_step=run.problems_per_step,
            rollouts_per_problem=run.rollouts_per_problem,
            updates_per_step=run.updates_per_step,
            max_lag=run.max_lag,
            concurrency=run.rollout.concurrency,
            min_graded=run.min_graded,
            relax_after_steps=run.relax_after_steps,
            max_starved_steps=run.max_starved_steps,
            max_failure_rate=run.reward_service.max_failure_rate,
            grading=grading.metrics,
            steering=samplers.steering,
            batch_seconds=run.budgets.batch,
            evaluate=evaluate,
            save=save,
        )

    def _evaluator(self, samplers: Samplers) -> Evaluator | None:
        if not self.data.held_out:
            return None
        return evaluator(self.run, self.data, samplers, self.sink.progress)

    async def _before(self, measure: Evaluator | None, loop: Loop) -> dict[str, float]:
        """Accuracy before the first step; a resumed run reads what was measured then."""
        if measure is None:
            return {}
        record = self.run_dir / "before.json"
        if loop.step and record.exists():
            return json.loads(record.read_text())
        accuracy = await measure("before")
        self.sink.log(loop.step, accuracy.metrics())
        record.write_text(json.dumps(report.scores(accuracy)))
        return report.scores(accuracy)

    async def _after(self, measure: Evaluator | None, step: int) -> dict[str, float]:
        if measure is None:
            return {}
        accuracy = await measure("after")
        self.sink.log(step, accuracy.metrics())
        return report.scores(accuracy)

    async def _save(self, learner: LearnerGroup, step: int, state: dict[str, Any]) -> Metrics:
        began = time.monotonic()
        about = assembly.about(self.run, self.data)
        self.saved = await self.checkpoints.save(learner, step, state, about)
        return {"timing_s/save": time.monotonic() - began}


def _to_resume(
    run: RunConfig, checkpoints: Checkpoints, about: Mapping[str, Any]
) -> Checkpoint | None:
    if run.checkpoint.resume == "never":
        return None
    automatic = run.checkpoint.resume == "auto"
    found = checkpoints.latest() if automatic else open_checkpoint(Path(run.checkpoint.resume))
    for name, here in about.items() if found else ():
        if found and (saved := found.about.get(name)) != here and name != "recipe":
            raise CheckpointError(
                f"{found.path} was saved with {name}={saved}, this run has {here}: its state does "
                "not fit. Go on with the same settings, or start anew in another run_dir"
            )
    return found


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _now() -> str:
    return time.strftime("%Y%m%d-%H%M%S")


if __name__ == "__main__":
    sys.exit(main())
