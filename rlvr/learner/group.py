"""All ranks of the learner as one: what the loop talks to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import partial
from itertools import chain, groupby, pairwise
from typing import Any, cast

import numpy as np

from rlvr.learner.aggregation import token_weights
from rlvr.learner.packing import RankWork, Weighted, work
from rlvr.learner.planning import size
from rlvr.learner.report import UpdateReport, combined
from rlvr.learner.settings import LearnerSettings
from rlvr.remote import Remote, WorkerDied
from rlvr.types import Rollout, TokenScores, TrainBatch, TrainSample, WeightVersion
from rlvr.weights.base import WeightManifest

GRACE_SECONDS = 3.0
"""After one rank failed, how long the others may take to fail too and so say why."""


class LearnerGroup:
    """Splits each step into updates and each update over the ranks. Calls must not overlap."""

    def __init__(self, workers: Sequence[Remote], *, settings: LearnerSettings) -> None:
        if not workers:
            raise ValueError("a learner has at least one worker, got none")
        self._workers = tuple(workers)
        self._settings = settings
        self._syncs = 0

    async def start(self) -> None:
        """Load the model on every rank."""
        host, port = await self._workers[0].call("address", phase="start")
        await self._on_all("start", host, port, phase="start")

    async def step(self, batch: TrainBatch) -> dict[str, float]:
        """Train on a batch: ``updates_per_step`` optimizer updates, each on an equal share of its
        problems, or one for each problem where these are fewer. Returns the step's metrics.

        Problems come in the order in which their rollouts were done, the shortest first, so several
        updates get them shuffled; a resumed run shuffles alike.

        Raises:
            MismatchError: the first on-policy update shows another policy than was sampled.
            ValueError: a sample is longer than ``tokens_per_microbatch``.
        """
        reports: list[UpdateReport] = []
        # Where credit went to a few problems only, such as those with a pair, there are fewer.
        updates = min(self._settings.updates_per_step, len({s.problem for s in batch.samples}))
        samples = batch.samples if updates == 1 else shuffled(batch.samples, seed=batch.version)
        for index, share in enumerate(shares(samples, updates)):
            parts = self._work(share, version=batch.version, on_policy=index == 0)
            answers = await self._on_each("train", parts, phase="train")
            reports += [cast(UpdateReport, answers[0]), _counts(parts)]
        return combined(reports)

    async def score(self, rollouts: Sequence[Rollout], version: WeightVersion) -> list[TokenScores]:
        """What the models say of the rollouts' tokens before a step's first update, in order."""
        samples = [TrainSample(rollout=rollout, advantage=0.0) for rollout in rollouts]
        parts = self._work(samples, version=version, on_policy=True, together=1)
        answers = await self._on_each("score", parts, phase="train")
        scores = {
            int(index): scored
            for part, answer in zip(parts, answers, strict=True)
            for index, scored in zip(part.samples_B, answer, strict=True)
        }
        return [scores[index] for index in range(len(rollouts))]

    def _work(
        self,
        samples: Sequence[TrainSample],
        *,
        version: WeightVersion,
        on_policy: bool,
        together: int | None = None,
    ) -> list[RankWork]:
        settings = self._settings
        lengths_B = np.array([len(s.rollout.completion_ids_T) for s in samples], np.int64)
        correct_B = np.array([sample.correct for sample in samples], np.bool_)
        weigh = partial(token_weights, aggregation=settings.aggregation)
        correct_weights_B = np.zeros(len(samples), np.float32)
        if correct_B.any():
            correct_weights_B[correct_B] = weigh(
                lengths_B[correct_B], max_tokens=settings.max_tokens
            )
        return work(
            Weighted(
                samples=samples,
                weights_B=weigh(lengths_B, max_tokens=settings.max_tokens).astype(np.float32),
                correct_weights_B=correct_weights_B,
            ),
            version=version,
            ranks=len(self._workers),
            tokens_per_microbatch=settings.tokens_per_microbatch,
            layout=settings.layout,
            on_policy=on_policy,
            together=together or (2 if getattr(settings.loss, "pairs", False) else 1),
        )

    async def publish(self, version: WeightVersion) -> WeightManifest:
        """Put the current weights into the channel, for engines to load."""
        settings = self._settings
        every = settings.probe_every
        with_probe = self._syncs == 0 or (every > 0 and self._syncs % every == 0)
        answers = await self._on_all(
            "send_weights", version, with_probe, settings.probe_tolerance, phase="sync"
        )
        self._syncs += 1
        return cast(WeightManifest, answers[0])

    async def save(self, directory: str) -> None:
        """Every rank's state into ``directory``; complete only when this returns."""
        await self._on_all("save", directory, phase="save")

    async def load(self, directory: str) -> None:
        """Continue from what ``save`` wrote."""
        await self._on_all("load", directory, phase="load")

    async def export_hf(self, directory: str) -> None:
        """The weights and the tokenizer as a Hugging Face directory."""
        await self._on_all("export_hf", directory, phase="save")

    async def close(self) -> None:
        await self._on_all("close", phase="stop")

    async def _on_all(self, method: str, *args: Any, phase: str) -> list[Any]:
        return await self._gather(
            [worker.call(method, *args, phase=phase) for worker in self._workers], phase
        )

    async def _on_each(self, method: str, parts: Sequence[RankWork], *, phase: str) -> list[Any]:
        pairs = zip(self._workers, parts, strict=True)
        return await self._gather([w.call(method, part, phase=phase) for w, part in pairs], phase)

    async def _gather(self, calls: Sequence[Any], phase: str) -> list[Any]:
        """All answers in rank order; or the failure that explains the others, and whose it is."""
        tasks = [asyncio.ensure_future(call) for call in calls]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            if any(task.done() and task.exception() for task in tasks):
                # When a rank dies its peers fail too, and may well be the first to say so.
                await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
        failures = [
            (worker.name, error)
            for worker, task in zip(self._workers, tasks, strict=True)
            if task.done() and not task.cancelled() and (error := task.exception()) is not None
        ]
        if failures:
            failures.sort(key=lambda failure: not isinstance(failure[1], WorkerDied))
            name, error = failures[0]
            error.add_note(f"raised by {name} in phase {phase!r}")
            for other, its_error in failures[1:]:
                error.add_note(f"{other} failed too: {type(its_error).__name__}: {its_error}")
            raise error
        return [task.result() for task in tasks]


def shares(samples: Sequence[TrainSample], updates: int) -> list[list[TrainSample]]:
    """Cut samples, which come problem by problem, into ``updates`` shares of whole problems.

    Raises:
        ValueError: there are fewer problems than updates.
    """
    problems = _problems(samples)
    if len(problems) < updates:
        raise ValueError(
            f"updates_per_step={updates} with {len(problems)} problems in the batch: each update "
            "takes at least one; lower it, or raise problems_per_step"
        )
    cuts = [round(index * len(problems) / updates) for index in range(updates + 1)]
    return [
        [sample for problem in problems[start:stop] for sample in problem]
        for start, stop in pairwise(cuts)
    ]


def shuffled(samples: Sequence[TrainSample], *, seed: int) -> list[TrainSample]:
    """The problems in an order of chance, each one's samples together and in their own order."""
    problems = _problems(samples)
    random.Random(seed).shuffle(problems)
    return list(chain.from_iterable(problems))


def _problems(samples: Sequence[TrainSample]) -> list[list[TrainSample]]:
    return [list(group) for _, group in groupby(samples, key=lambda s: s.problem)]


def _counts(parts: Sequence[RankWork]) -> UpdateReport:
    """What an update is made of. Padding's share is of the positions that are computed."""
    tokens = sum(len(part.sequences.token_ids_N) for part in parts)
    positions = sum(
        size(part.sequences.lengths_B[samples_B], part.layout)
        for part in parts
        for samples_B in part.microbatches
    )
    return UpdateReport(
        means={"perf/padding_share": (float(positions - tokens), float(positions))},
        sums={
            "perf/total_num_tokens": float(tokens),
            "perf/loss_tokens": float(sum(len(p.sequences.sampled_logprobs_T) for p in parts)),
            "perf/microbatches": float(sum(len(part.microbatches) for part in parts)),
        },
        maxima={},
        latest={},
    )
