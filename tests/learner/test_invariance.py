"""No objective notices how a batch is cut up: micro-batches, packing, ranks, ZeRO, chunks, order.

Each is compared with plain torch in float64, which has the whole batch and all logits at once.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rlvr.learner import corrections, diagnostics, losses, terms
from rlvr.learner.group import LearnerGroup
from rlvr.learner.loss import LossInputs
from rlvr.metrics import describe
from rlvr.types import TrainBatch, TrainSample
from tests.learner.presets import MAX_TOKENS, PRESETS, Preset, samples
from tests.learner.ranks import Descent, Learner, settings

TOLERANCE = 3e-6
"""Of a parameter, in units of the largest slope; float32 keeps seven digits of either."""
BASE = {"tokens_per_microbatch": 10_000, "head_chunk": 1024}


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A way to cut a batch up."""

    world_size: int = 1
    starts: dict[str, object] = field(default_factory=dict)
    """What a rank is started with."""
    divides: dict[str, object] = field(default_factory=dict)
    """What says how a batch is divided."""
    shuffled: bool = False


CUTS = {
    "all at once": Cut(),
    "small micro-batches": Cut(divides={"tokens_per_microbatch": 48}),
    "packed": Cut(divides={"tokens_per_microbatch": 10_000, "layout": "packed"}),
    "packed micro-batches": Cut(divides={"tokens_per_microbatch": 64, "layout": "packed"}),
    "shuffled": Cut(divides={"tokens_per_microbatch": 64}, shuffled=True),
    "chunks of 1": Cut(starts={"head_chunk": 1}, divides={"tokens_per_microbatch": 64}),
    **{
        f"2 ranks, ZeRO {stage}": Cut(
            world_size=2, starts={"zero_stage": stage}, divides={"tokens_per_microbatch": 64}
        )
        for stage in range(4)
    },
}


class Renewed(Descent):
    """Takes on one objective after the other, each with the weights that it started with: to start
    a rank anew takes a hundred times as long."""

    def renew(self, objective, directory):
        self._objective = objective
        if directory is None:
            return
        self.load(directory)


class Ranks:
    """A started learner for each kind of rank, one at a time."""

    def __init__(self, ranks, model, directory) -> None:
        self._ranks, self._model, self._directory = ranks, model, directory
        self._key = None
        self._learner = None

    def step(self, preset: Preset, cut: Cut, batch: TrainBatch):
        """Metrics and parameters after one update from the model's weights."""
        learner, saved = self._started(cut)
        objective = preset.make()
        told = {"loss": objective, "aggregation": preset.aggregation, "max_tokens": MAX_TOKENS}
        learner.group = LearnerGroup(
            learner.ranks, settings=settings(**BASE | cut.starts | cut.divides | told)
        )
        learner.on_all("renew", preset.make(), None)
        learner.load(saved)
        metrics = learner.step(batch)
        return metrics, learner.parameters()

    def close(self) -> None:
        if self._learner is not None:
            self._learner.close()
        self._learner = None

    def _started(self, cut: Cut) -> tuple[Learner, str]:
        key = (cut.world_size, *sorted(cut.starts.items()))
        saved = str(self._directory / "-".join(map(str, key)))
        if key != self._key:
            self.close()
            told = settings(lr=1.0, **BASE | cut.starts)
            self._learner = Learner(self._ranks(cut.world_size), self._model, Renewed, told)
            self._learner.on_all("renew", PRESETS["reinforce"].make(), None)
            self._learner.save(saved)
            self._key = key
        return self._learner, saved


@pytest.fixture(scope="module")
def started(ranks, tied, tmp_path_factory):
    made = Ranks(ranks, tied, tmp_path_factory.mktemp("start"))
    yield made
    made.close()
