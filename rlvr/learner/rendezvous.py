"""How the ranks of a learner find each other: an address, and the group that meets there."""

from __future__ import annotations

import datetime
import os
import socket
from typing import Any

import torch

from rlvr.learner.deepspeed_config import load_deepspeed


def free_address() -> tuple[str, int]:
    """This machine's address as other machines see it, and a port that is free here."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return _host(), int(listener.getsockname()[1])


def join(
    address: tuple[str, int],
    *,
    rank: int,
    world_size: int,
    device: torch.device,
    timeout: float,
) -> Any:
    """Meet the other ranks where rank 0 is; ``timeout`` (s) bounds every collective operation.

    Returns the package of DeepSpeed, which reads the environment that is set here.
    """
    host, port = address
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(world_size),
        # Each process sees only the GPU that is its own.
        LOCAL_RANK="0",
        LOCAL_WORLD_SIZE="1",
        LOCAL_SIZE="1",
        MASTER_ADDR=host,
        MASTER_PORT=str(port),
    )
    # Not at the top: it settles on an accelerator when it is imported.
    deepspeed = load_deepspeed()
    deepspeed.init_distributed(
        dist_backend="nccl" if device.type == "cuda" else "gloo",
        auto_mpi_discovery=False,
        verbose=False,
        timeout=datetime.timedelta(seconds=timeout),
    )
    return deepspeed


def _host() -> str:
    """Nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:  # no route: a machine by itself
            return "127.0.0.1"
        return str(probe.getsockname()[0])
