"""Parts of a learner rank, hosted without the learner in the processes of ``ranks``."""

from __future__ import annotations

import asyncio
import datetime
import importlib
import os
import socket
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rlvr.learner.deepspeed_config import load_deepspeed
from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.settings import LearnerSettings
from tests.learner.ranks import OVERLAY, VOCABULARY, RankProcess

CPU = torch.device("cpu")
LENGTHS = ((3, 6), (1, 2), (5, 9))
"""Prompt and completion tokens of a micro-batch's sequences."""


def learner_settings(**changes) -> LearnerSettings:
    small = {
        "loss": Clipped(),
        "max_tokens": 16,
        "head_chunk": 16,
        "deepspeed": OVERLAY,
        "collective_timeout": 60.0,
    }
    return LearnerSettings(**small | changes)


def microbatch(seed: int, *, weight: float = 0.01, packed: bool = False) -> dict[str, Tensor]:
    """Three sequences with made-up values and returns; the second completion token is masked."""
    random = np.random.default_rng(seed)
    sequences = [random.integers(3, VOCABULARY, sum(lengths)) for lengths in LENGTHS]
    width = max(len(ids) for ids in sequences)
    rows = np.zeros((len(sequences), width), np.int64)
    for row, ids in zip(rows, sequences, strict=True):
        row[: len(ids)] = ids
    starts = [index * width for index in range(len(sequences))]
    extra = {}
    if packed:
        rows = np.concatenate(sequences)[None]
        starts = np.cumsum([0, *(len(ids) for ids in sequences[:-1])])
        extra["position_ids_RS"] = np.concatenate([np.arange(len(ids)) for ids in sequences])[None]
    sources = np.concatenate(
        [s + np.arange(p - 1, p + c - 1) for s, (p, c) in zip(starts, LENGTHS, strict=True)]
    )
    tokens = len(sources)
    mask = np.ones(tokens, np.bool_)
    mask[1] = False
    arrays = {
        "token_ids_RS": rows,
        "sources_T": sources,
        "targets_T": rows.reshape(-1)[sources + 1],
        "weights_T": np.full(tokens, weight, np.float32),
        "mask_T": mask,
        "temperature_T": np.full(tokens, 0.7, np.float32),
        "values_T": random.normal(0, 0.3, tokens).astype(np.float32),
        "returns_T": random.normal(0.5, 1.0, tokens).astype(np.float32),
        "sequence_T": np.repeat(np.arange(len(LENGTHS)), [c for _, c in LENGTHS]),
    }
    return {name: torch.from_numpy(array) for name, array in (arrays | extra).items()}


class Hosted:
    """What a process serves: one rank that has joined the others."""

    def __init__(self, *, rank: int, world_size: int, settings: LearnerSettings) -> None:
        self.rank = rank
        self.world_size = world_size
        self.settings = settings

    def join(self, port: int) -> None:
        os.environ.update(
            RANK=str(self.rank),
            WORLD_SIZE=str(self.world_size),
            LOCAL_RANK="0",
            LOCAL_WORLD_SIZE="1",
            LOCAL_SIZE="1",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )
        load_deepspeed().init_distributed(
            dist_backend="gloo",
            auto_mpi_discovery=False,
            verbose=False,
            timeout=datetime.timedelta(seconds=60),
        )

    def leave(self) -> None:
        importlib.import_module("deepspeed").comm.destroy_process_group()

    def mine(self, seeds: Sequence[int]) -> list[dict[str, Tensor]]:
        """This rank's share of the micro-batches."""
        return [microbatch(seed) for seed in seeds[self.rank :: self.world_size]]

    def full(self, module: nn.Module) -> dict[str, np.ndarray]:
        """All parameters, whole; collective."""
        zero = importlib.import_module("deepspeed").zero
        with zero.GatheredParameters(list(module.parameters()), modifier_rank=None):
            return {n: p.detach().float().numpy().copy() for n, p in module.named_parameters()}


class Group:
    """Ranks that make every call together."""

    def __init__(
        self, processes: list[RankProcess], worker: type[Hosted], settings: LearnerSettings
    ) -> None:
        self._processes = processes
        for rank, process in enumerate(processes):
            process.host(worker, rank=rank, world_size=len(processes), settings=settings)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.all("join", port)

    def all(self, method: str, *args) -> list:
        """Every rank's answer."""

        async def ask() -> list:
            calls = [process.call(method, *args, phase="test") for process in self._processes]
            return await asyncio.gather(*calls)

        return asyncio.run(ask())

    def __getattr__(self, method: str):
        """Rank 0's answer."""
        return lambda *args: self.all(method, *args)[0]
