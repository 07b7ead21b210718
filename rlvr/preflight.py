"""Whether this machine has the memory and the disk for a run, found out before anything starts.

The figures are what a run can't do without, not what it will take: activations and caches come on
top. A run that is refused here would have failed; one that passes still may.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
from pathlib import Path
from typing import Any, cast

import psutil

from rlvr.config import ConfigError, LearnerConfig, RolloutConfig, RunConfig

GIB = 2**30
CPU_PROCESS_BYTES = GIB
"""A worker with torch and its libraries loaded, before any tensor."""
GPU_PROCESS_BYTES = 3 * GIB
"""With the driver's and CUDA's own libraries as well."""
GRADER_BYTES = GIB // 8
LOG_BYTES = GIB
SHARED_BYTES = GIB // 4
"""Ray's object store and NCCL's buffers in /dev/shm."""
SHARED = Path("/dev/shm")
CGROUP = Path("/sys/fs/cgroup")


def check_resources(run: RunConfig, model: str) -> None:
    """Refuse a run that this machine can't hold.

    Memory is checked only where the run starts Ray itself: otherwise its workers live elsewhere.

    Args:
        model: directory of the weights.

    Raises:
        ConfigError: gives the setting, what it needs, what there is, and the remedy.
    """
    count = parameters(Path(model))
    _check_disk(run, count)
    if run.cluster.address is None:
        _check_memory(run, count)
        _check_shared_memory()


def parameters(model: Path) -> int:
    """Of the weights in a directory, as its safetensors headers have it; 0 without such files."""
    return sum(_parameters_of(path) for path in model.glob("*.safetensors"))


def checkpoint_bytes(learner: LearnerConfig, count: int) -> int:
    """Weights and optimizer state of one checkpoint."""
    weights, _, states = _bytes_per_parameter(learner.dtype)
    trained = 1 + (learner.critic is not None)
    return trained * (weights + states) * count


def _check_disk(run: RunConfig, count: int) -> None:
    directory = Path(run.run_dir or ".").absolute()
    while not directory.exists():
        directory = directory.parent
    each = checkpoint_bytes(run.learner, count)
    # The newest is written in full before the oldest goes.
    need = (run.checkpoint.keep + 1) * each + LOG_BYTES
    have = shutil.disk_usage(directory).free
    if have < need:
        raise ConfigError(
            f"checkpoint.keep={run.checkpoint.keep}: {run.checkpoint.keep + 1} checkpoints of "
            f"{_gib(each)} and {_gib(LOG_BYTES)} of logs need {_gib(need)}, {directory} has "
            f"{_gib(have)} free. Free some, lower checkpoint.keep, or put run_dir on another disk"
        )


def _check_memory(run: RunConfig, count: int) -> None:
    needs = {
        f"rollout.workers={run.rollout.workers}": _rollout_bytes(run.rollout, count),
        f"learner.workers={run.learner.workers}": _learner_bytes(run.learner, count),
        f"reward_service.workers={run.reward_service.workers}": max(1, run.reward_service.workers)
        * (run.reward_service.processes + 1)
        * GRADER_BYTES,
        "the weights on their way": count * _width(run.learner.dtype),
    }
    need, have = sum(needs.values()), available_memory()
    if have < need:
        parts = ", ".join(f"{name}: {_gib(size)}" for name, size in needs.items())
        raise ConfigError(
            f"{parts}. That is {_gib(need)} of memory at least, and {_gib(have)} are available. "
            "Use fewer workers or a smaller model, share the optimizer's state with "
            "learner.zero_stage=1 and more learner.workers on more nodes, or end other programs"
        )


def _rollout_bytes(rollout: RolloutConfig, count: int) -> int:
    if rollout.gpus:
        return rollout.workers * GPU_PROCESS_BYTES
    cache = rollout.engine.get("kv_cache_memory_bytes", 0)
    each = CPU_PROCESS_BYTES + count * _width(rollout.dtype)
    return rollout.workers * (each + (cache if isinstance(cache, int) else 0))


def _learner_bytes(learner: LearnerConfig, count: int) -> int:
    """ZeRO splits optimizer state from stage 1 on, gradients from 2, weights at 3."""
    if learner.gpus:
        return learner.workers * GPU_PROCESS_BYTES
    weights, gradients, states = _bytes_per_parameter(learner.dtype)
    copies = [
        size if learner.zero_stage < stage else size / learner.workers
        for size, stage in ((states, 1), (gradients, 2), (weights, 3))
    ]
    trained = 1 + (learner.critic is not None)
    return learner.workers * (CPU_PROCESS_BYTES + math.ceil(trained * sum(copies) * count))


def _check_shared_memory() -> None:
    if not SHARED.exists():
        return
    have = shutil.disk_usage(SHARED).free
    if have < SHARED_BYTES:
        raise ConfigError(
            f"{SHARED}: Ray and NCCL need {_gib(SHARED_BYTES)} there, {_gib(have)} are free. In "
            "Docker start with --shm-size=8g or --ipc=host; else delete what dead programs left"
        )


def available_memory() -> int:
    """Bytes that may be taken without swapping, within the container's limit where it has one."""
    free = psutil.virtual_memory().available
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        statistics = (CGROUP / "memory.stat").read_text()
    except OSError:
        return free
    if limit == "max":
        return free
    rows = dict(line.split() for line in statistics.splitlines())
    # Files that were read once count as used, and are dropped when memory is short.
    return min(free, int(limit) - used + int(rows.get("inactive_file", 0)))


def _parameters_of(path: Path) -> int:
    """The header alone is read: its length in 8 bytes, then JSON."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = cast(dict[str, dict[str, Any]], json.loads(file.read(length)))
    return sum(
        math.prod(cast(list[int], tensor["shape"]))
        for name, tensor in header.items()
        if name != "__metadata__"
    )


def _bytes_per_parameter(dtype: str) -> tuple[int, int, int]:
    """Weights, gradients (accumulated in fp32), and Adam's moments with any fp32 master copy."""
    return (4, 4, 8) if dtype == "float32" else (2, 4, 12)


def _width(dtype: str) -> int:
    return 4 if dtype == "float32" else 2


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB"
