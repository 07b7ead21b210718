"""An engine whose answers are written down, for tests and for runs without a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from rlvr.rollout.engine import Sampling
from rlvr.types import Finish, Rollout, WeightVersion
from rlvr.weights.base import WeightManifest

Script = Callable[[tuple[int, ...], int], str]
"""From prompt ids and seed to the completion's text."""


class ScriptedEngine:
    """Completes with what its script says, one token per character (its code point)."""

    def __init__(
        self,
        script: Script | Mapping[tuple[int, ...], Sequence[str]],
        *,
        logprob: float = -1.0,
        seconds: float = 0.0,
    ) -> None:
        """A mapping gives each prompt its answers, of which the seed picks one.

        ``logprob`` is that of every token; ``seconds`` pass before an answer.
        """
        self._script = script if callable(script) else _picked(script)
        self._logprob = logprob
        self._seconds = seconds
        self.version = WeightVersion(0)
        self.calls: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        """Prompt ids and seeds, in the order in which they came."""

    async def generate(
        self, prompt_ids: Sequence[int], *, sampling: Sampling, seeds: Sequence[int]
    ) -> tuple[Rollout, ...]:
        """One rollout per seed; tokens past ``sampling.max_tokens`` are cut off."""
        prompt = tuple(prompt_ids)
        self.calls.append((prompt, tuple(seeds)))
        version = self.version
        await asyncio.sleep(self._seconds)
        return tuple(
            self._rollout(prompt, self._script(prompt, seed), sampling, version) for seed in seeds
        )

    async def load_weights(self, manifest: WeightManifest) -> dict[str, float]:
        """Take the version and nothing else."""
        self.version = manifest.version
        return {"version": float(manifest.version), "seconds": 0.0, "probe_difference": 0.0}

    def _rollout(
        self, prompt: tuple[int, ...], text: str, sampling: Sampling, version: WeightVersion
    ) -> Rollout:
        kept = text[: sampling.max_tokens]
        return Rollout(
            prompt_ids=prompt,
            completion_ids_T=tuple(map(ord, kept)),
            logprobs_T=(self._logprob,) * len(kept),
            versions_T=(version,) * len(kept),
            text=kept,
            finish=Finish.STOP if kept == text else Finish.LENGTH,
            temperature=sampling.temperature,
        )


def _picked(answers: Mapping[tuple[int, ...], Sequence[str]]) -> Script:
    def script(prompt: tuple[int, ...], seed: int) -> str:
        if prompt not in answers:
            raise KeyError(f"no answers are scripted for the prompt {prompt}")
        return answers[prompt][seed % len(answers[prompt])]

    return script
