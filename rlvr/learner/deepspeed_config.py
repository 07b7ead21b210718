"""DeepSpeed's configuration, and its start without the parts that a run does not need."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any, cast

import torch

from rlvr.learner.settings import LearnerSettings

OURS = frozenset(
    {
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
        "managed_gradient_accumulation",
        "gradient_allreduce_op",
        "gradient_clipping",
        "prescale_gradients",
        "optimizer",
        "scheduler",
        "fp16",
        "bf16",
        "data_types",
        "communication_data_type",
    }
)
"""Settings on which the loss's exact normalisation rests."""

LARGEST_BUCKET = 50_000_000
IN_CPU_MEMORY = {"device": "cpu", "pin_memory": True}


def deepspeed_config(
    settings: LearnerSettings, *, grad_clip: float, parameters: int
) -> dict[str, Any]:
    """For a model of so many parameters.

    The loss comes normalised over the whole update, so DeepSpeed is told of one micro-batch and
    divides by nothing but the number of ranks.

    Raises:
        ValueError: ``settings.deepspeed`` has a key that other settings decide.
    """
    taken = sorted(OURS & settings.deepspeed.keys())
    if taken:
        raise ValueError(
            f"learner.deepspeed has {', '.join(taken)}: the gradient's exactness rests on them; "
            "leave them out and use learner.dtype, learner.optimizer and tokens_per_microbatch"
        )
    # ZeRO-3 allocates whole buckets at the start, whatever the model's size.
    # It takes even ones only.
    bucket = max(2, min(LARGEST_BUCKET, parameters + parameters % 2))
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        # At stage 0 DeepSpeed neither reports the norm nor skips what is not finite: see engine.
        "gradient_clipping": grad_clip if settings.zero_stage else 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        "checkpoint": {"tag_validation": "Fail"},
        "zero_optimization": {
            "stage": settings.zero_stage,
            "contiguous_gradients": True,
            "reduce_scatter": True,
            "overlap_comm": False,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "stage3_prefetch_bucket_size": bucket,
            "stage3_param_persistence_threshold": 100_000,
        },
    }
    if settings.offload != "none":
        config["zero_optimization"]["offload_optimizer"] = dict(IN_CPU_MEMORY)
    if settings.offload == "all":
        config["zero_optimization"]["offload_param"] = dict(IN_CPU_MEMORY)
    if settings.dtype == "bfloat16":
        config["bf16"] = {"enabled": True}
        config["data_types"] = {"grad_accum_dtype": "fp32"}
        config["communication_data_type"] = "fp32"
    return _laid_over(config, settings.deepspeed)


def load_deepspeed() -> Any:
    """The package, minutes sooner on a CPU.

    Its torch backend would compile a shared-memory collective (only inference uses it), and its
    initialiser imports an optimizer that pulls in the whole of torch's compiler.
    """
    deepspeed = importlib.import_module("deepspeed")
    if os.environ.get("DS_ACCELERATOR") == "cpu":
        importlib.import_module("deepspeed.ops").__dict__.setdefault("__compatible_ops__", {})
    module = cast(Any, torch)
    compile_ = module.compile
    module.compile = _uncompiled
    try:
        importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")
    finally:
        module.compile = compile_
    return deepspeed


def _uncompiled(function: Any = None, **_: object) -> Any:
    """Stands in for ``torch.compile``, with and without arguments."""

    def unchanged(decorated: Any) -> Any:
        return decorated

    return unchanged if function is None else function


def _laid_over(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in overlay.items():
        below = merged.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[name] = _laid_over(
                cast(Mapping[str, Any], below), cast(Mapping[str, Any], value)
            )
        else:
            merged[name] = value
    return merged
