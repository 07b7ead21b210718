"""A run's parts, made from its settings: what the entry points have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from rlvr import graders
from rlvr.algorithm import Algorithm
from rlvr.cluster.cluster import Cluster
from rlvr.cluster.placement import Ask
from rlvr.config import ConfigError, CriticConfig, LoraConfig, ReferenceConfig, RunConfig
from rlvr.config_checks import built
from rlvr.learner.environment import environment as learner_environment
from rlvr.learner.group import LearnerGroup
from rlvr.learner.settings import (
    CriticSettings,
    LearnerSettings,
    LoraSettings,
    OptimizerSettings,
    ReferenceSettings,
)
from rlvr.model_directory import resolve_model
from rlvr.probing import Probe, ProbedGrader
from rlvr.problems.base import ProblemStream
from rlvr.problems.stream import Without
from rlvr.remote import Remote
from rlvr.rewards.base import Shaping
from rlvr.rewards.porting.ported import About
from rlvr.rewards.serving.service import RewardService
from rlvr.rewards.serving.shaped import Grader, ShapedGrader
from rlvr.rewards.serving.template import JailError, Template
from rlvr.rewards.serving.worker import check_quotas
from rlvr.rollout.engine import Sampling
from rlvr.rollout.environment import environment as rollout_environment
from rlvr.rollout.pool import RolloutPool
from rlvr.rollout.prompt import OverlongPrompt, PromptRenderer
from rlvr.rollout.temperature import EntropyTarget
from rlvr.rollout.token_text import TokenText
from rlvr.types import Problem

EXAMPLES = 8
"""Problems of each set whose reference answers the reward has to accept before a run starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What a run trains on and is measured on, read and checked."""

    problems: ProblemStream
    held_out: Sequence[Problem]
    render: PromptRenderer
    overlong: int
    """Training problems that were left out because their prompt is too long."""
    reward: About
    layout: str
    """How the training rows were read; empty for problems that come from no table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samplers:
    """What turns problems into graded rollouts."""

    rollouts: RolloutPool
    rewards: RewardService
    """Judges without shaping, as evaluation wants it."""
    steering: EntropyTarget | None = None


@dataclass(frozen=True, slots=True)
class Grading:
    """Verdicts as training sees them, and what is to be said of them."""

    grader: Grader
    metrics: Callable[[], Awaitable[dict[str, float]]]


def read_data(run: RunConfig, model: str) -> Data:
    """Problems and prompts, before anything heavy starts.

    Raises:
        ConfigError: the problems cannot be read, or none of their prompts fits.
    """
    try:
        render = PromptRenderer(
            model,
            system_prompt=run.system_prompt,
            max_prompt_tokens=run.sampling.max_prompt_tokens,
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"model={run.model}: {error}") from error
    reward = about_reward(run)
    try:
        check_quotas(reward, run.reward_service.quotas)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    problems: ProblemStream = built("problems", run.problems)
    too_long = {problem.id for problem in problems.all() if not _fits(render, problem)}
    if len(too_long) == len(problems.all()):
        raise ConfigError(
            f"sampling.max_prompt_tokens={run.sampling.max_prompt_tokens}: every one of the "
            f"{len(too_long)} training prompts has more tokens; raise it"
        )
    held_out: Sequence[Problem] = ()
    if run.evaluation.problems is not None:
        stream: ProblemStream = built("evaluation.problems", run.evaluation.problems)
        held_out = [problem for problem in stream.all() if _fits(render, problem)]
        held_out = held_out[: run.evaluation.limit]
    return Data(
        problems=Without(problems, too_long) if too_long else problems,
        held_out=held_out,
        render=render,
        overlong=len(too_long),
        reward=reward,
        layout=getattr(problems, "layout", ""),
    )


def about_reward(run: RunConfig) -> About:
    """What is known of the reward, which is loaded in a process that can be killed.

    Raises:
        ConfigError: it cannot be loaded, or not in ``reward_service.start_seconds``.
    """
    try:
        template = Template(run.reward, start_seconds=run.reward_service.start_seconds)
    except JailError as error:
        raise ConfigError(f"reward: {error}") from error
    template.close()
    return template.about


def asks(run: RunConfig, *, learner: bool) -> list[Ask]:
    """What every worker of the run needs."""
    rollout = [
        Ask(name=name, section="rollout", cpus=run.rollout.cpus, gpus=run.rollout.gpus)
        for name in _names("rollout", run.rollout.workers)
    ]
    ranks = [
        Ask(name=name, section="learner", cpus=run.learner.cpus, gpus=run.learner.gpus)
        for name in _names("learner", run.learner.workers)
    ]
    return rollout + (ranks if learner else []) + graders.asks(run)


async def start_samplers(run: RunConfig, model: str, data: Data, cluster: Cluster) -> Samplers:
    """Engines and reward processes, up and tested."""
    steering = temperature_control(run)
    examples = (*data.problems.all()[:EXAMPLES], *data.held_out[:EXAMPLES])
    async with asyncio.TaskGroup() as tasks:
        engines = [
            tasks.create_task(_start_engine(run, model, cluster, name))
            for name in _names("rollout", run.rollout.workers)
        ]
        grading = tasks.create_task(graders.start(run, cluster, examples))
    pool = RolloutPool(
        [engine.result() for engine in engines],
        sampling=sampling(run),
        seed=run.seed,
        render=data.render,
        temperature=steering,
    )
    return Samplers(rollouts=pool, rewards=grading.result(), steering=steering)


def temperature_control(run: RunConfig) -> EntropyTarget | None:
    """What moves the sampling temperature, if anything does.

    Raises:
        ConfigError: it refuses its settings, or the temperature that the run starts with.
    """
    node = run.sampling.temperature_control
    if node is None:
        return None
    control: EntropyTarget = built("sampling.temperature_control", node)
    try:
        control.apply(sampling(run))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return control


def grading(run: RunConfig, model: str, samplers: Samplers, probe: Probe | None) -> Grading:
    """How rollouts are graded in training; ``model`` is the directory of the run's.

    Raises:
        ConfigError: a shaping or the probe does not fit the run's settings.
    """
    shaped = ShapedGrader(grader=samplers.rewards, shaping=shapings(run))
    if probe is None:
        return Grading(shaped, samplers.rewards.metrics)
    try:
        probed = ProbedGrader(
            grader=shaped,
            judge=samplers.rewards,
            rollouts=samplers.rollouts,
            token_text=TokenText(model),
            max_tokens=run.sampling.max_tokens,
            probe=probe,
            concurrency=run.rollout.concurrency,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error

    async def metrics() -> dict[str, float]:
        return {**await samplers.rewards.metrics(), **probed.take()}

    return Grading(probed, metrics)


def shapings(run: RunConfig) -> list[Shaping]:
    """What changes the rewards of training, in turn.

    Raises:
        ConfigError: one refuses its settings.
    """
    return [built(f"shaping[{index}]", node) for index, node in enumerate(run.shaping)]


def sampling(run: RunConfig) -> Sampling:
    return Sampling(
        temperature=run.sampling.temperature,
        top_p=run.sampling.top_p,
        max_tokens=run.sampling.max_tokens,
    )


async def start_learner(
    run: RunConfig, model: str, cluster: Cluster, settings: LearnerSettings
) -> LearnerGroup:
    """Every rank with its models loaded."""
    names = _names("learner", run.learner.workers)
    workers = await asyncio.gather(
        *(
            cluster.spawn(
                name,
                "rlvr.learner.worker:LearnerWorker",
                {
                    "name": name,
                    "rank": rank,
                    "world_size": len(names),
                    "model": model,
                    "settings": settings,
                },
                env=learner_environment(
                    threads=max(1, int(run.learner.cpus)),
                    gpu=run.learner.gpus > 0,
                    one_node=run.cluster.address is None,
                ),
            )
            for rank, name in enumerate(names)
        )
    )
    group = LearnerGroup(workers, settings=settings)
    await group.start()
    return group


def learner_settings(run: RunConfig, model: str, algorithm: Algorithm) -> LearnerSettings:
    """The learner's part of the settings, checked; ``model`` is the directory of the run's.

    Raises:
        ConfigError: values that do not go together, or a model that is not there.
    """
    learner, weights = run.learner, run.weights
    try:
        return LearnerSettings(
            loss=algorithm.objective,
            max_tokens=run.sampling.max_tokens,
            updates_per_step=run.updates_per_step,
            aggregation=learner.aggregation,
            tokens_per_microbatch=learner.tokens_per_microbatch,
            layout=learner.layout,
            head_chunk=learner.head_chunk,
            dtype=learner.dtype,
            zero_stage=learner.zero_stage,
            attention=learner.attention,
            activation_checkpointing=learner.activation_checkpointing,
            deepspeed=learner.deepspeed,
            optimizer=OptimizerSettings(**asdict(learner.optimizer)),
            recompute_logprobs=algorithm.recomputes,
            critic=_critic(learner.critic, model),
            reference=_reference(run, model) if algorithm.needs_reference else None,
            lora=_lora(learner.lora),
            offload=learner.offload,
            mismatch_bound=learner.mismatch_bound,
            channel=weights.channel,
            checksum_bytes=weights.checksum_bytes,
            probe_every=weights.probe_every,
            probe_tolerance=weights.probe_tolerance,
            collective_timeout=run.budgets.train,
            seed=run.seed,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _critic(critic: CriticConfig | None, model: str) -> CriticSettings | None:
    if critic is None:
        return None
    return CriticSettings(
        model=resolve_model(critic.model) if critic.model else model,
        optimizer=OptimizerSettings(**asdict(critic.optimizer)),
        value_clip=critic.value_clip,
        only_steps=critic.only_steps,
    )


def _reference(run: RunConfig, model: str) -> ReferenceSettings:
    reference = run.learner.reference or ReferenceConfig()
    return ReferenceSettings(
        model=resolve_model(reference.model) if reference.model else model,
        ema_decay=reference.ema_decay,
        sync_every=reference.sync_every,
        sync_alpha=reference.sync_alpha,
    )


def _lora(lora: LoraConfig | None) -> LoraSettings | None:
    if lora is None:
        return None
    listed = isinstance(lora.targets, list)
    targets = tuple(cast(list[Any], lora.targets)) if listed else lora.targets
    return LoraSettings(
        rank=lora.rank,
        alpha=lora.alpha,
        targets="all-linear" if targets == ("all-linear",) else targets,
    )


async def _start_engine(run: RunConfig, model: str, cluster: Cluster, name: str) -> Remote:
    rollout = run.rollout
    worker = await cluster.spawn(
        name,
        "rlvr.rollout.worker:RolloutWorker",
        {
            "name": name,
            "model": model,
            "channel": run.weights.channel,
            "dtype": rollout.dtype,
            "max_model_len": run.sampling.max_prompt_tokens + run.sampling.max_tokens,
            "gpus": rollout.gpus,
            "seed": run.seed,
            "engine": rollout.engine,
        },
        env=rollout_environment(cpus=rollout.cpus, gpus=rollout.gpus),
        # Rollouts, probes, an evaluation's two calls a problem; new weights must not queue behind.
        concurrency=4 * rollout.concurrency + 8,
    )
    await worker.call("start", phase="start")
    return worker


def _names(kind: str, count: int) -> list[str]:
    return [f"{kind}-{index}" for index in range(count)]


def _fits(render: PromptRenderer, problem: Problem) -> bool:
    try:
        render(problem)
    except OverlongPrompt:
        return False
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return True


def about(run: RunConfig, data: Data) -> dict[str, Any]:
    """What a checkpoint says of the run that made it."""
    state = data.problems.state_dict()
    return {
        "recipe": run.recipe_name,
        "model": run.model,
        "seed": run.seed,
        "data": state.get("fingerprint"),
        "learner": {"workers": run.learner.workers, "zero_stage": run.learner.zero_stage},
    }
