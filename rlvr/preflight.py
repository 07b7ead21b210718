"""Whether this machine has the memory and the disk for a run, found out before anything starts.

The figures are what a run can't do without, not what it will take: activations and caches come on
top. A run that is refused here would have failed; one that passes still may.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil

from rlvr.config import ConfigError, LearnerConfig, RolloutConfig, RunConfig
from rlvr.learner.settings import LearnerSettings, LoraSettings

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
HEADS = ("lm_head.", "embed_out.")
"""How the names of a head's own tensors begin; a critic has the trunk alone."""
GRADIENT = 4
"""Bytes; accumulated in fp32."""
MASTER = 4
"""Bytes of an fp32 copy."""
OFFLOADED: dict[str, tuple[str, ...]] = {
    "none": (),
    "optimizer": ("gradients", "states"),
    "all": ("gradients", "states", "weights", "masters"),
}
"""What each ``learner.offload`` takes from the GPUs into main memory."""

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Parameters of what a learner holds."""

    policy: int
    adapters: int | None = None
    """None where the policy itself trains."""
    critic: int = 0
    reference: int = 0
    """0 where none has weights of its own."""
    reference_moves: bool = False

    @property
    def trained(self) -> int:
        return (self.policy if self.adapters is None else self.adapters) + self.critic

    @property
    def all(self) -> int:
        return self.policy + (self.adapters or 0) + self.critic + self.reference


def check_resources(run: RunConfig, model: str, settings: LearnerSettings) -> None:
    """Refuse a run that this machine can't hold.

    Memory is checked only where the run starts Ray itself: otherwise its workers live elsewhere.

    Args:
        model: directory of the weights.
        settings: the learner's, made from the run's.

    Raises:
        ConfigError: gives the setting, what it needs, what there is, and the remedy.
    """
    models = models_of(settings, model)
    _check_disk(run, checkpoint_bytes(settings, models))
    if run.cluster.address is None:
        _check_memory(run, settings, models)
        _check_shared_memory()


def models_of(settings: LearnerSettings, model: str) -> Models:
    """Counted from the headers of their safetensors files; 0 without such files."""
    policy, lora, reference = shapes(model), settings.lora, settings.reference
    # Adapters that are switched off leave the policy that they were added to.
    own = reference if lora is None or (reference and reference.model != model) else None
    return Models(
        policy=_numbers(policy),
        adapters=None if lora is None else adapter_parameters(policy, lora),
        critic=0 if settings.critic is None else _trunk(shapes(settings.critic.model)),
        reference=0 if own is None else _numbers(shapes(own.model)),
        reference_moves=own is not None and own.moves,
    )


def adapter_parameters(policy: Shapes, lora: LoraSettings) -> int:
    """``rank (in + out)`` of each targeted layer, as far as names and shapes tell which are."""
    return sum(
        lora.rank * sum(shape)
        for name, shape in policy.items()
        if len(shape) == 2
        and name.endswith(".weight")
        and _is_targeted(name.removesuffix(".weight"), lora.targets)
    )


def checkpoint_bytes(settings: LearnerSettings, models: Models) -> int:
    """Of one checkpoint: the policy for ``from_pretrained``, adapters merged and by themselves; of
    what trains, optimizer state and (below ZeRO stage 3) weights; and a reference that moves."""
    width = _width(settings.dtype)
    exported = width * (models.policy + (models.adapters or 0))
    kept = _state(settings) + (width if settings.zero_stage < 3 else 0)
    reference = MASTER * models.reference if models.reference_moves else 0
    return exported + kept * models.trained + reference


def _check_disk(run: RunConfig, each: int) -> None:
    directory = Path(run.run_dir or ".").absolute()
    while not directory.exists():
        directory = directory.parent
    # The newest is written in full before the oldest goes.
    need = (run.checkpoint.keep + 1) * each + LOG_BYTES
    have = shutil.disk_usage(directory).free
    if have < need:
        raise ConfigError(
            f"checkpoint.keep={run.checkpoint.keep}: {run.checkpoint.keep + 1} checkpoints of "
            f"{_gib(each)} and {_gib(LOG_BYTES)} of logs need {_gib(need)}, {directory} has "
            f"{_gib(have)} free. Free some, lower checkpoint.keep, or put run_dir on another disk"
        )


def _check_memory(run: RunConfig, settings: LearnerSettings, models: Models) -> None:
    needs = {
        f"rollout.workers={run.rollout.workers}": _rollout_bytes(run.rollout, models.policy),
        f"learner.workers={run.learner.workers}": learner_bytes(run.learner, settings, models),
        f"reward_service.workers={run.reward_service.workers}": max(1, run.reward_service.workers)
        * (run.reward_service.processes + 1)
        * GRADER_BYTES,
        "the weights on their way": models.policy * _width(settings.dtype),
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


def learner_bytes(learner: LearnerConfig, settings: LearnerSettings, models: Models) -> int:
    """Main memory of all ranks. ZeRO splits optimizer state from stage 1 on, gradients from 2,
    weights at 3; with GPUs only what is offloaded counts, and that is always split."""
    has_masters = models.reference_moves and settings.dtype != "float32"
    sizes = {
        "states": _state(settings) * models.trained,
        "gradients": GRADIENT * models.trained,
        "weights": _width(settings.dtype) * models.all,
        "masters": MASTER * models.reference if has_masters else 0,
    }
    if learner.gpus:
        offloaded = sum(sizes[name] for name in OFFLOADED[settings.offload])
        return learner.workers * GPU_PROCESS_BYTES + offloaded
    split_from = {"states": 1, "gradients": 2, "weights": 3, "masters": 3}
    whole = sum(size for name, size in sizes.items() if settings.zero_stage < split_from[name])
    return learner.workers * (CPU_PROCESS_BYTES + whole) + sum(sizes.values()) - whole


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


def shapes(model: str) -> Shapes:
    """Of the tensors in a directory's safetensors files, by name."""
    headers = [_header(path) for path in Path(model).glob("*.safetensors")]
    return {name: shape for header in headers for name, shape in header.items()}


def _header(path: Path) -> Shapes:
    """Its length in 8 bytes, then JSON; no tensor is read."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = cast(dict[str, dict[str, Any]], json.loads(file.read(length)))
    return {
        name: tuple(cast(list[int], tensor["shape"]))
        for name, tensor in header.items()
        if name != "__metadata__"
    }


def _numbers(tensors: Mapping[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in tensors.values())


def _trunk(tensors: Shapes) -> int:
    return _numbers({name: s for name, s in tensors.items() if not name.startswith(HEADS)})


def _is_targeted(layer: str, targets: tuple[str, ...] | str) -> bool:
    if targets == "all-linear":
        # A matrix outside the numbered layers is an embedding or the head.
        return re.search(r"\.\d+\.", layer) is not None
    if isinstance(targets, str):
        return re.fullmatch(targets, layer) is not None
    return any(layer == target or layer.endswith(f".{target}") for target in targets)


def _state(settings: LearnerSettings) -> int:
    """Bytes of a trained parameter: Adam's moments, and the fp32 copy that bfloat16 needs and that
    ZeRO makes of float32 as well."""
    return 8 if settings.dtype == "float32" and settings.zero_stage == 0 else 8 + MASTER


def _width(dtype: str) -> int:
    return 4 if dtype == "float32" else 2


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB"
