"""What the learner is told, complete and checked. No torch here: the driver builds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rlvr.learner.aggregation import AGGREGATIONS
from rlvr.learner.packing import LAYOUTS

if TYPE_CHECKING:
    from rlvr.learner.loss import PolicyLoss

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerSettings:
    loss: PolicyLoss
    max_tokens: int
    """Completion tokens at most; the divisor of ``seq-mean-token-sum-norm``."""
    temperature: float = 1.0
    """That of sampling: the trained policy is the one that was sampled from."""
    updates_per_step: int = 1
    aggregation: str = "token-mean"
    tokens_per_microbatch: int = 16384
    layout: str = "padded"
    head_chunk: int = 1024
    dtype: str = "float32"
    zero_stage: int = 0
    attention: str = "sdpa"
    activation_checkpointing: bool = False
    deepspeed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Laid over the DeepSpeed configuration that is made from the rest."""

    lr: float = 1e-6
    warmup_steps: int = 0
    """Optimizer steps over which the learning rate rises to ``lr``; constant after that."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    """Largest gradient norm; 0 switches clipping off."""

    mismatch_bound: float | None = 1e-3
    """Largest mean absolute difference (nats) between the sampler's and the learner's log-probs
    in the first on-policy update; about 0.05 suits bfloat16; null only logs it."""
    channel: str = "rlvr.weights.shm"
    """Module with the class ``Sender``."""
    checksum_bytes: int = 256 * 2**20
    probe_every: int = 1
    """Syncs between log-prob probes, after the first; 0 probes the first only."""
    probe_tolerance: float = 1e-3
    collective_timeout: float = 600.0
    """Seconds that a rank waits for the others in one collective operation."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("aggregation", self.aggregation, AGGREGATIONS),
            ("layout", self.layout, LAYOUTS),
            ("dtype", self.dtype, DTYPES),
            ("zero_stage", self.zero_stage, (0, 1, 2, 3)),
        ):
            if value not in choices:
                raise ValueError(f"learner.{name}={value!r}: take one of {choices}")
        for name in ("tokens_per_microbatch", "head_chunk", "max_tokens", "updates_per_step"):
            if getattr(self, name) < 1:
                raise ValueError(f"learner.{name}={getattr(self, name)}: it must be at least 1")
        if self.temperature <= 0:
            raise ValueError(
                f"temperature={self.temperature}: a greedy policy has no gradient; take 1.0"
            )
        if self.dtype == "bfloat16" and self.zero_stage < 2:
            raise ValueError(
                f"learner.zero_stage={self.zero_stage} with dtype=bfloat16: below stage 2 "
                "DeepSpeed accumulates gradients in bfloat16 and small ones are lost; take "
                "zero_stage 2 or 3 (2 costs nothing on one rank), or dtype=float32"
            )
