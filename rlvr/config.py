"""A run's settings, and the recipes that fill them in.

What the framework reads is typed here and checked before anything heavy starts. What a plug-in
reads is its own constructor: its node names it by ``_target_`` and carries its arguments, so a new
plug-in is a file and a recipe line, with no table of names to add it to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

Plugin = dict[str, Any]


class ConfigError(ValueError):
    """A setting that cannot work: its value, the reason, and what to do."""


@dataclass(kw_only=True)
class SamplingConfig:
    temperature: float = 1.0
    top_p: float = 1.0
    max_prompt_tokens: int = 1024
    """Longer prompts are left out and counted, never cut."""
    max_tokens: int = 1024
    """Completion tokens at most."""
    temperature_control: Plugin | None = None
    """Moves the temperature of training by what a step measures; null keeps it."""


@dataclass(kw_only=True)
class RolloutConfig:
    workers: int = 1
    """Engines, each with its own copy of the weights."""
    cpus: float = 1
    """Cores per engine; on a CPU also its number of threads (at least 1)."""
    gpus: float = 0
    """GPUs per engine."""
    concurrency: int = 64
    """Problems in flight over all engines; beyond what ``max_lag`` allows there are never more.
    A ``probe`` has as many prefixes in flight beside them."""
    dtype: str = "bfloat16"
    engine: dict[str, Any] = field(default_factory=dict[str, Any])
    """Further vLLM engine arguments, by vLLM's own names, such as ``gpu_memory_utilization``."""


@dataclass(kw_only=True)
class OptimizerConfig:
    lr: float = 1e-6
    warmup_steps: int = 0
    """Optimizer steps over which the learning rate rises from 0 to ``lr``; constant after that."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    """Largest gradient norm; 0 switches clipping off."""


@dataclass(kw_only=True)
class CriticConfig:
    """A value model on an engine of its own, for estimators that need values."""

    model: str = ""
    """A directory or a name on the hub; empty takes the run's ``model``. Its head starts at 0."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    value_clip: float | None = None
    """How far a value may move in a step from what it was before (0.2 to 0.5 is usual)."""
    only_steps: int = 0
    """First optimizer steps that train the critic alone."""


@dataclass(kw_only=True)
class ReferenceConfig:
    """The policy that a KL penalty holds on to; fixed unless it is told to follow."""

    model: str = ""
    """A directory or a name on the hub; empty takes the run's ``model``."""
    ema_decay: float | None = None
    """After every optimizer step it becomes decay x itself + (1 - decay) x the policy."""
    sync_every: int = 0
    """Optimizer steps after which it moves to the policy; 0 never."""
    sync_alpha: float = 1.0
    """How far it then moves: 1 makes it the policy."""


@dataclass(kw_only=True)
class LoraConfig:
    """Low-rank adapters on frozen weights.

    The engines get them merged into the weights. In bfloat16 rounding hides what adapters change by
    less than half a step of a weight, so small updates reach the sampler late (``mismatch/...``
    shows how far it is behind): ratios then have to be against the learner's own log-probs, see
    ``recompute_logprobs``. Larger learning rates, or float32 in learner and engines, help.
    """

    rank: int = 16
    alpha: float = 32.0
    """The adapters' product counts alpha / rank."""
    targets: Any = "all-linear"
    """All linear layers but the head; or a list of their names' last parts, such as ``[q_proj]``;
    or a regular expression for whole names, such as ``.*layers\\.1[0-9]\\..*_proj``."""


@dataclass(kw_only=True)
class LearnerConfig:
    workers: int = 1
    """Data-parallel ranks."""
    cpus: float = 1
    """Cores per rank; on a CPU also its number of threads (at least 1)."""
    gpus: float = 0
    zero_stage: int = 2
    dtype: str = "bfloat16"
    """bfloat16 keeps fp32 master weights and accumulates gradients in fp32."""
    attention: str = "sdpa"
    """As transformers' ``attn_implementation``."""
    layout: str = "auto"
    """``padded``: rows of similar length; ``packed``: one row, no padding; ``auto``: packed with
    flash attention, which computes it sequence by sequence, and padded with the others."""
    tokens_per_microbatch: int = 16384
    """Bound of one micro-batch, padding included; the gradient does not depend on it."""
    head_chunk: int = 1024
    """Tokens whose logits exist at a time."""
    activation_checkpointing: bool = False
    mismatch_bound: float | None = 1e-3
    """Largest mean absolute difference (nats) between the engines' and the learner's log-probs in
    the first on-policy update; bf16 on a GPU needs about 0.05; null only logs it."""
    aggregation: str = "token-mean"
    """``token-mean``, ``seq-mean-token-mean``, ``seq-mean-token-sum``,
    ``seq-mean-token-sum-norm`` (divided by ``sampling.max_tokens``), or ``token-sum`` (divided by
    nothing: the loss grows with the batch)."""
    loss: Plugin = MISSING
    terms: list[Plugin] = field(default_factory=list[Plugin])
    """Added to the loss, such as a KL penalty or an entropy bonus; each has its coefficient."""
    corrections: list[Plugin] = field(default_factory=list[Plugin])
    """Weights and masks on tokens for having been sampled by another policy; they multiply."""
    recompute_logprobs: bool = False
    """Ratios are against the learner's own log-probs before the step's first update, in place of
    the engines'; costs a forward pass, and is refused where the loss would not look at them."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    critic: CriticConfig | None = None
    reference: ReferenceConfig | None = None
    """Where something needs one; null then makes a fixed one of ``model``."""
    lora: LoraConfig | None = None
    """null trains all weights."""
    offload: str = "none"
    """What DeepSpeed keeps in CPU memory: ``none``, ``optimizer``, or ``all`` (ZeRO stage 3)."""
    deepspeed: dict[str, Any] = field(default_factory=dict[str, Any])
    """Laid over the DeepSpeed configuration that is made from the settings above."""


@dataclass(kw_only=True)
class RewardServiceConfig:
    workers: int = 1
    """Ray actors that own grading processes; 0 starts one on every node."""
    processes: int = 2
    """Grading processes per worker."""
    quotas: dict[str, int] = field(default_factory=dict[str, int])
    """Processes per worker that may grade for one verifier at a time, by its name; what has no
    quota may take all."""
    max_waiting: int = 4096
    """Texts with one worker, waiting or being graded; what comes beyond that waits outside."""
    cache: int = 4096
    """Verdicts that each process remembers for texts of equal answers; 0 grades every text."""
    memory_gb: float = 2.0
    """What one process may take beyond the loaded reward (GiB); 0 sets no limit."""
    seconds: float = 5.0
    """Longest time for one verdict, from dispatch; past it the process is killed."""
    start_seconds: float = 60.0
    """Longest time for loading the reward."""
    max_failure_rate: float = 0.1
    """Share of verdicts of a step that may be ``timeout`` or ``error`` before the run stops; from
    half of it on the run warns."""

    def worker_arguments(self, reward: Any) -> dict[str, Any]:
        """What a ``RewardWorker`` that grades by ``reward`` is made of."""
        return {
            "spec": reward,
            "processes": self.processes,
            "seconds": self.seconds,
            "memory_gb": self.memory_gb,
            "cache": self.cache,
            "quotas": dict(self.quotas),
            "start_seconds": self.start_seconds,
        }


@dataclass(kw_only=True)
class GoldCheckConfig:
    """The check of all references by the run's own reward, before a run."""

    policy: str = "drop"
    """``drop`` leaves out problems whose reference is not accepted, ``refuse`` stops the start,
    ``off`` does not look."""
    max_rejected: float = 0.05
    """Share of rejected references in a set, past which the start stops under ``drop`` too."""
    limit_seconds: float = 120.0
    """Of looking; what was checked until then is a random sample, and the rest is trusted."""
    processes: int = 0
    """Grading processes; 0 takes one for each core."""
    cache: str | None = "~/.cache/rlvr"
    """Directory that remembers what was checked; null always checks."""


@dataclass(kw_only=True)
class EvaluationConfig:
    problems: Plugin | None = None
    """Held-out problems; null switches evaluation off."""
    limit: int | None = None
    """Problems at most, from the start of the file."""
    samples: int = 8
    """Samples per problem at the training temperature, beside the greedy one."""
    every: int = 0
    """Steps between evaluations; 0 evaluates before and after training only."""


@dataclass(kw_only=True)
class WeightsConfig:
    channel: str = "rlvr.weights.shm"
    """Module with the classes ``Sender`` and ``Receiver``."""
    checksum_bytes: int = 256 * 2**20
    """Bytes per sync whose checksums are compared; a rotating sample where there are more."""
    probe_every: int = 1
    """Syncs between log-prob probes, after the first; 0 probes the first only."""
    probe_tolerance: float = 1e-3
    """Largest mean absolute log-prob difference (nats); bf16 on a GPU needs about 0.1."""


@dataclass(kw_only=True)
class CheckpointConfig:
    every: int = 50
    """Steps between checkpoints; there is always one at the end."""
    keep: int = 2
    """Newest checkpoints kept."""
    resume: str = "auto"
    """``auto``: from ``run_dir``'s latest where there is one; ``never``; or a checkpoint's path."""


@dataclass(kw_only=True)
class BudgetConfig:
    """Longest waits in seconds. Past one, the stacks of all workers go to a file that the error
    names together with the phase."""

    start: float = 600.0
    generate: float = 1800.0
    grade: float = 300.0
    train: float = 1800.0
    sync: float = 600.0
    save: float = 1800.0
    load: float = 1800.0
    batch: float = 3600.0
    """For a whole step's batch to fill. No stacks here: a worker that hangs runs into its own
    phase's budget first."""
    stop: float = 30.0


@dataclass(kw_only=True)
class ClusterConfig:
    address: str | None = None
    """Of a running Ray cluster; null starts one on this machine."""
    strategy: str = "PACK"
    """Ray's placement strategy for the workers."""
    env: dict[str, str] = field(default_factory=dict[str, str])
    """Environment variables for every worker."""


@dataclass(kw_only=True)
class RunConfig:
    model: str = MISSING
    """A directory with weights and a tokenizer, or a name on the Hugging Face hub."""
    recipe_name: str = ""
    run_dir: str = ""
    """Everything that the run writes; empty makes ``runs/<recipe>/<time>``."""
    seed: int = 0
    steps: int = 200
    """Batches that are trained on."""
    problems_per_step: int = 32
    rollouts_per_problem: int = 8
    updates_per_step: int = 1
    """Optimizer steps per batch; each takes an equal share of its problems."""
    max_lag: int = 0
    """Optimizer steps that sampling may run ahead of training. 0 is on-policy."""
    min_graded: int = 2
    """A group with fewer graded rollouts is dropped."""
    relax_after_steps: int = 4
    """Steps' worth of groups dropped in a row after which dropped groups train all the same (they
    may have no gradient, but the run goes on and shows it); 0 keeps on sampling."""
    max_starved_steps: int = 20
    """Steps' worth of groups dropped in a row that end the run."""
    system_prompt: str = ""
    """First message, where prompts go through a chat template."""
    problems: Plugin = MISSING
    reward: Any = MISSING
    """A plug-in, or ``path/to/file.py:function``."""
    shaping: list[Plugin] = field(default_factory=list[Plugin])
    """Change the rewards of graded groups in training, one after the other."""
    filter: Plugin = MISSING
    advantage: Plugin = MISSING
    """From rewards to credit; over a problem's rollouts, the whole batch, tokens, or pairs."""
    mask_truncated: bool = False
    """Rollouts that were cut at ``sampling.max_tokens`` count in their group, but do not train:
    DAPO's overlong filtering (arXiv:2503.14476). They stay in the loss's denominator."""
    reward_kl: Plugin | None = None
    """A KL penalty on the reward, before advantages are made of it; null has none."""
    probe: Plugin | None = None
    """Success rates from the beginnings of rollouts, for estimators that need them. They are of the
    reward as it is, so it goes with neither ``shaping`` nor ``reward_kl``."""
    sinks: list[Plugin] = field(default_factory=list[Plugin])
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    reward_service: RewardServiceConfig = field(default_factory=RewardServiceConfig)
    gold_check: GoldCheckConfig = field(default_factory=GoldCheckConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    budgets: BudgetConfig = field(default_factory=BudgetConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
