"""The engines of a run, as one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from rlvr.remote import Remote
from rlvr.rollout.engine import Sampling
from rlvr.rollout.temperature import EntropyTarget
from rlvr.types import Problem, Rollout, RolloutGroup
from rlvr.weights.base import WeightManifest, WeightProofError


class RolloutPool:
    """Spreads problems over engines and brings all of them to new weights together."""

    def __init__(
        self,
        workers: Sequence[Remote],
        *,
        sampling: Sampling,
        seed: int,
        render: Callable[[Problem], tuple[int, ...]],
        temperature: EntropyTarget | None = None,
    ) -> None:
        """``seed`` is the run's; ``render`` makes a problem's prompt ids; ``temperature`` moves
        that of ``sampling``."""
        if not workers:
            raise ValueError("a pool without workers: rollout.workers must be at least 1")
        self._workers = tuple(workers)
        self._sampling = sampling
        self._seed = seed
        self._render = render
        self._temperature = temperature
        self._in_flight = [0] * len(self._workers)

    def for_run(self, *, sampling: Sampling, seed: int) -> RolloutPool:
        """The same engines for another run; its weights have to be loaded first."""
        return RolloutPool(self._workers, sampling=sampling, seed=seed, render=self._render)

    async def generate(
        self,
        problem: Problem,
        *,
        n: int,
        epoch_key: str,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        prefix_ids: Sequence[int] = (),
    ) -> RolloutGroup:
        """``n`` rollouts of one problem, all on the engine with the fewest in flight.

        One engine, so that the prompt's KV cache is shared. ``epoch_key`` tells visits of the same
        problem apart; the same key draws the same tokens on any engine (given the same weights).
        With ``prefix_ids`` they go on from there, and the prefix counts as a part of the prompt.
        ``sampling`` takes the place of the pool's own, whose temperature may move; ``max_tokens``
        that of its limit alone.

        Raises:
            WeightProofError: the engine holds weights that failed their proof.
            WorkerDied, PhaseTimeout: from the engine's process.
        """
        prompt_ids = (*self._render(problem), *prefix_ids)
        drawn = sampling or self._current()
        if max_tokens is not None:
            drawn = replace(drawn, max_tokens=max_tokens)
        index = min(range(len(self._workers)), key=self._in_flight.__getitem__)
        self._in_flight[index] += n
        try:
            rollouts_G = cast(
                tuple[Rollout, ...],
                await self._workers[index].call(
                    "generate",
                    prompt_ids,
                    sampling=drawn,
                    seeds=tuple(
                        sample_seed(self._seed, problem.id, epoch_key, sample)
                        for sample in range(n)
                    ),
                    phase="generate",
                ),
            )
        finally:
            self._in_flight[index] -= n
        if len(rollouts_G) != n:
            raise RuntimeError(
                f"{self._workers[index].name} returned {len(rollouts_G)} rollouts of problem "
                f"{problem.id} and was asked for {n}"
            )
        return RolloutGroup(problem=problem, rollouts_G=rollouts_G)

    async def load_weights(self, manifest: WeightManifest) -> dict[str, float]:
        """Load on every engine at once; return once each has confirmed the version.

        Returns each measurement of the engines at its largest.

        Raises:
            WeightProofError: what an engine loaded is not what was sent; names the engine.
        """
        loads = await asyncio.gather(
            *(self._load(worker, manifest) for worker in self._workers), return_exceptions=True
        )
        # Every engine has come to an end, so the sender's buffer is free; now the first failure.
        measured: dict[str, float] = {}
        for load in loads:
            if isinstance(load, BaseException):
                raise load
            for name, value in load.items():
                measured[name] = max(value, measured.get(name, value))
        return measured

    def _current(self) -> Sampling:
        """What rollouts are sampled with that nobody asked for otherwise."""
        return (
            self._sampling if self._temperature is None else self._temperature.apply(self._sampling)
        )

    async def _load(self, worker: Remote, manifest: WeightManifest) -> dict[str, float]:
        try:
            measured = cast(
                dict[str, float], await worker.call("load_weights", manifest, phase="sync")
            )
        except WeightProofError as error:
            raise WeightProofError(f"{worker.name}: {error}") from error
        if measured["version"] != manifest.version:
            raise WeightProofError(
                f"{worker.name} confirmed version {measured['version']:.0f} and was sent "
                f"{manifest.version}"
            )
        return measured


def sample_seed(run_seed: int, problem_id: str, epoch_key: str, sample: int) -> int:
    """A seed below 2**63 that depends on nothing but its arguments, on any machine."""
    text = "\x1f".join((str(run_seed), problem_id, epoch_key, str(sample)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
