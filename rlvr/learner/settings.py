"""What the learner is told, complete and checked. No torch here: the driver builds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, cast

from rlvr.learner.aggregation import AGGREGATIONS
from rlvr.learner.planning import LAYOUTS

if TYPE_CHECKING:
    from rlvr.learner.loss import PolicyLoss

DTYPES = ("float32", "bfloat16")
OFFLOADS = {"none": (0, 1, 2, 3), "optimizer": (1, 2, 3), "all": (3,)}
"""What may be kept in CPU memory, and the ZeRO stages that can."""
VARIABLE_LENGTH = "flash_attention"
"""How the attentions begin that give each sequence of a packed row a square of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """AdamW with a linear warm-up."""

    lr: float = 1e-6
    warmup_steps: int = 0
    """Optimizer steps over which the learning rate rises to ``lr``; constant after that."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    """Largest gradient norm; 0 switches clipping off."""

    def __post_init__(self) -> None:
        above = "take a finite number above 0"
        least = "take 0 or a finite number above it"
        for name, value, fits, remedy in (
            ("lr", self.lr, 0 < self.lr < inf, f"{above}, such as 1e-6"),
            ("warmup_steps", self.warmup_steps, 0 <= self.warmup_steps < inf, "take 0 or more"),
            ("eps", self.eps, 0 < self.eps < inf, f"{above}, such as 1e-8"),
            ("weight_decay", self.weight_decay, 0 <= self.weight_decay < inf, least),
            ("grad_clip", self.grad_clip, 0 <= self.grad_clip < inf, f"{least}; 0 clips nothing"),
        ):
            if not fits:
                raise ValueError(f"optimizer.{name}={value}: AdamW can't train with it; {remedy}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(
                f"optimizer.betas={self.betas}: they say how much of two averages is kept at each "
                "step; take two of at least 0 and below 1, such as [0.9, 0.999]"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticSettings:
    """A value model beside the policy."""

    model: str
    """Whose trunk it starts from; its head starts at 0."""
    optimizer: OptimizerSettings
    value_clip: float | None = None
    """How far a value may move from that before the step's updates (arXiv:1707.06347's code)."""
    only_steps: int = 0
    """First optimizer steps that train the critic alone, with the policy as it is (VC-PPO's value
    pretraining, arXiv:2503.01491)."""

    def __post_init__(self) -> None:
        if self.value_clip is not None and not self.value_clip > 0:
            raise ValueError(
                f"learner.critic.value_clip={self.value_clip}: no value could move; take more "
                "than 0 (0.2 to 0.5 is usual) or null"
            )
        if self.only_steps < 0:
            raise ValueError(f"learner.critic.only_steps={self.only_steps}: take 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSettings:
    """The policy that a KL penalty holds on to; it stays as it starts unless one of these says
    otherwise."""

    model: str
    """Where it starts from."""
    ema_decay: float | None = None
    """After every update it becomes decay x itself + (1 - decay) x the policy."""
    sync_every: int = 0
    """Updates after which it moves to the policy (TR-DPO, arXiv:2404.09656); 0 never."""
    sync_alpha: float = 1.0
    """How far it then moves: alpha x the policy + (1 - alpha) x itself."""

    def __post_init__(self) -> None:
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(
                f"learner.reference.ema_decay={self.ema_decay}: a moving average takes a decay "
                "between 0 and 1, such as 0.99; null keeps the reference fixed"
            )
        if self.sync_every < 0 or not 0 < self.sync_alpha <= 1:
            raise ValueError(
                f"learner.reference.sync_every={self.sync_every}, sync_alpha={self.sync_alpha}: "
                "take 0 (never) or a number of updates, and an alpha above 0 and at most 1"
            )
        if self.ema_decay is not None and self.sync_every:
            raise ValueError(
                f"learner.reference has ema_decay={self.ema_decay} and "
                f"sync_every={self.sync_every}: it follows in one way; leave one of them out"
            )

    @property
    def moves(self) -> bool:
        return self.ema_decay is not None or self.sync_every > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters on frozen weights (arXiv:2106.09685)."""

    rank: int = 16
    alpha: float = 32.0
    """The adapters' product counts alpha / rank."""
    targets: tuple[str, ...] | str = "all-linear"
    """Layers that get one: last parts of their names, a regular expression for whole names, or
    ``all-linear`` for all but the head."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(
                f"learner.lora.rank={self.rank}: adapters have at least 1; take 8 to 64, or "
                "learner.lora=null to train all weights"
            )
        if not 0 < self.alpha < float("inf"):
            raise ValueError(
                f"learner.lora.alpha={self.alpha}: adapters count alpha / rank; take more than 0, "
                f"such as {2 * self.rank}"
            )
        if not self.targets:
            raise ValueError(
                f"learner.lora.targets={self.targets!r}: no layer would train; take all-linear"
            )
        if wrong := _wrong_with(self.targets):
            raise ValueError(
                f"learner.lora.targets={self.targets!r}: {wrong}; take all-linear, names such as "
                "[q_proj, v_proj], or a regular expression for whole names"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerSettings:
    loss: PolicyLoss
    max_tokens: int
    """Completion tokens at most; the divisor of ``seq-mean-token-sum-norm``."""
    updates_per_step: int = 1
    aggregation: str = "token-mean"
    tokens_per_microbatch: int = 16384
    layout: str = "auto"
    """``padded`` or ``packed``; ``auto`` becomes ``packed`` where the attention computes a packed
    row sequence by sequence, and ``padded`` where it would compute the whole row's square."""
    head_chunk: int = 1024
    dtype: str = "float32"
    zero_stage: int = 0
    attention: str = "sdpa"
    activation_checkpointing: bool = False
    deepspeed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Laid over the DeepSpeed configuration that is made from the rest."""

    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    recompute_logprobs: bool = False
    """Ratios are against the learner's own log-probs before the step's first update."""
    critic: CriticSettings | None = None
    reference: ReferenceSettings | None = None
    """None where nothing needs one. Under LoRA a fixed one is the policy with its adapters off."""
    lora: LoraSettings | None = None
    offload: str = "none"
    """What DeepSpeed keeps in CPU memory: ``none``; ``optimizer`` (fp32 weights and moments, from
    stage 1 on); or ``all``, the weights too (stage 3)."""
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
            ("layout", self.layout, ("auto", *LAYOUTS)),
            ("dtype", self.dtype, DTYPES),
            ("zero_stage", self.zero_stage, (0, 1, 2, 3)),
            ("offload", self.offload, tuple(OFFLOADS)),
        ):
            if value not in choices:
                raise ValueError(f"learner.{name}={value!r}: take one of {choices}")
        for name in ("tokens_per_microbatch", "head_chunk", "max_tokens", "updates_per_step"):
            if getattr(self, name) < 1:
                raise ValueError(f"learner.{name}={getattr(self, name)}: it must be at least 1")
        if self.zero_stage not in (stages := OFFLOADS[self.offload]):
            raise ValueError(
                f"learner.offload={self.offload!r} with zero_stage={self.zero_stage}: only ZeRO "
                f"stages {', '.join(map(str, stages))} keep that apart; take one of them, or "
                "offload='none'"
            )
        if self.dtype == "bfloat16" and self.zero_stage < 2:
            raise ValueError(
                f"learner.zero_stage={self.zero_stage} with dtype=bfloat16: below stage 2 "
                "DeepSpeed accumulates gradients in bfloat16 and small ones are lost; take "
                "zero_stage 2 or 3 (2 costs nothing on one rank), or dtype=float32"
            )
        is_flash = self.attention.startswith(VARIABLE_LENGTH)
        if is_flash and self.dtype == "float32":
            raise ValueError(
                f"learner.attention={self.attention} with dtype=float32: flash attention computes "
                "in half precision alone; take dtype=bfloat16, or attention=sdpa"
            )
        if self.layout == "auto":
            object.__setattr__(self, "layout", "packed" if is_flash else "padded")


def _wrong_with(targets: Any) -> str:
    """Why these can't name layers; empty where they can."""
    if isinstance(targets, tuple):
        names = cast(tuple[Any, ...], targets)
        return "" if all(isinstance(name, str) for name in names) else "not all of it are names"
    if not isinstance(targets, str):
        return "neither names nor an expression"
    try:
        re.compile(targets)
    except re.error as error:
        return f"no regular expression ({error})"
    return ""
