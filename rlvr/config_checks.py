"""What must hold of a run's settings, and the arithmetic that follows from them.

Nothing here starts a process, reads weights or touches the network: it is done in the time that a
typing error deserves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from rlvr import plugin
from rlvr.config import BudgetConfig, ConfigError, RunConfig
from rlvr.model_directory import is_local, longest_sequence, resolve_model

SINK_ARGUMENTS = ("run_dir", "run_name")
"""What the framework gives every sink beside what its node says."""

ONE_OF: dict[str, tuple[object, ...]] = {
    "learner.zero_stage": (0, 1, 2, 3),
    "learner.dtype": ("bfloat16", "float32"),
    "learner.layout": ("auto", "padded", "packed"),
    "learner.attention": ("sdpa", "eager", "flash_attention_2", "flash_attention_3"),
    "learner.aggregation": (
        "token-mean",
        "seq-mean-token-mean",
        "seq-mean-token-sum",
        "seq-mean-token-sum-norm",
        "token-sum",
    ),
    "rollout.dtype": ("bfloat16", "float16", "float32"),
    "gold_check.policy": ("drop", "refuse", "off"),
    "cluster.strategy": ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"),
}

AT_LEAST: dict[str, float] = {
    "seed": 0,
    "steps": 1,
    "problems_per_step": 1,
    "rollouts_per_problem": 1,
    "updates_per_step": 1,
    "max_lag": 0,
    "min_graded": 1,
    "relax_after_steps": 0,
    "max_starved_steps": 1,
    "sampling.max_prompt_tokens": 1,
    "sampling.max_tokens": 1,
    "rollout.workers": 1,
    "rollout.gpus": 0,
    "rollout.concurrency": 1,
    "learner.workers": 1,
    "learner.gpus": 0,
    "learner.tokens_per_microbatch": 1,
    "learner.head_chunk": 1,
    "learner.optimizer.warmup_steps": 0,
    "learner.optimizer.weight_decay": 0,
    "learner.optimizer.grad_clip": 0,
    "reward_service.workers": 0,
    "reward_service.processes": 1,
    "reward_service.memory_gb": 0,
    "reward_service.max_failure_rate": 0,
    "reward_service.max_waiting": 1,
    "reward_service.cache": 0,
    "gold_check.max_rejected": 0,
    "gold_check.processes": 0,
    "evaluation.samples": 1,
    "evaluation.every": 0,
    "weights.checksum_bytes": 0,
    "weights.probe_every": 0,
    "weights.probe_tolerance": 0,
    "checkpoint.every": 1,
    "checkpoint.keep": 1,
}

ABOVE_ZERO = (
    "rollout.cpus",
    "learner.cpus",
    "learner.optimizer.lr",
    "learner.optimizer.eps",
    "reward_service.seconds",
    "reward_service.start_seconds",
    "gold_check.limit_seconds",
    *(f"budgets.{phase.name}" for phase in fields(BudgetConfig)),
)


def check(run: RunConfig, *, model: bool = True) -> None:
    """Refuse settings that can't work, those of the model only if ``model``.

    Raises:
        ConfigError: one line per setting: its value, the reason, and what to do.
    """
    checks = (_ranges, _batch, _sampling, *((_model,) if model else ()), _files, _plugins)
    if refused := [line for part in checks for line in part(run)]:
        raise ConfigError("\n".join(refused))


def built(key: str, node: Mapping[str, Any], **given: Any) -> Any:
    """The plug-in that a node names, made before anything heavy starts.

    Raises:
        ConfigError: its constructor refuses a value, or a file that it reads.
    """
    try:
        return plugin.build(node, **given)
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(f"{key}: {error}") from error


def check_length(run: RunConfig, directory: str) -> None:
    """Refuse sequences that the model in ``directory`` does not cover.

    Raises:
        ConfigError: says by how many tokens they are too long.
    """
    longest = longest_sequence(directory)
    asked = run.sampling.max_prompt_tokens + run.sampling.max_tokens
    if longest is not None and asked > longest:
        raise ConfigError(
            f"sampling.max_prompt_tokens={run.sampling.max_prompt_tokens} + "
            f"sampling.max_tokens={run.sampling.max_tokens} = {asked}: the model covers {longest} "
            f"positions (max_position_embeddings); lower one of them by {asked - longest}"
        )


def slots(run: RunConfig) -> int:
    """Problems that ``max_lag`` allows in flight: whole batches that may be ahead of training."""
    return run.problems_per_step * (1 + run.max_lag // run.updates_per_step)


def arithmetic(run: RunConfig) -> list[tuple[str, str]]:
    """What the batch settings amount to, as rows of name and calculation."""
    samples = run.problems_per_step * run.rollouts_per_problem
    per_update = samples // run.updates_per_step
    longest = run.sampling.max_prompt_tokens + run.sampling.max_tokens
    allowed = slots(run)
    in_flight = min(run.rollout.concurrency, allowed)
    return [
        (
            "samples per step",
            f"{run.problems_per_step} problems x {run.rollouts_per_problem} rollouts = {samples:,}",
        ),
        (
            "samples per update",
            f"{samples:,} / {run.updates_per_step} updates = {per_update:,}"
            f" (about {per_update / run.learner.workers:,.0f} on each of "
            f"{run.learner.workers} ranks)",
        ),
        (
            "tokens per sample",
            f"at most {run.sampling.max_prompt_tokens:,} prompt + {run.sampling.max_tokens:,} "
            f"completion = {longest:,}",
        ),
        ("tokens per step", f"at most {samples:,} x {longest:,} = {samples * longest:,}"),
        (
            "micro-batches",
            f"at most {run.learner.tokens_per_microbatch:,} tokens, padding included, per rank",
        ),
        (
            "in flight",
            f"max_lag {run.max_lag} allows {allowed:,} problems, concurrency "
            f"{run.rollout.concurrency:,}: {in_flight:,} problems = "
            f"{in_flight * run.rollouts_per_problem:,} rollouts over {run.rollout.workers} engines",
        ),
        (
            "whole run",
            f"{run.steps:,} steps x {run.updates_per_step} updates = "
            f"{run.steps * run.updates_per_step:,} updates on {run.steps * samples:,} samples",
        ),
    ]


def _ranges(run: RunConfig) -> Iterator[str]:
    for key, value in _numbers(run, ""):
        if not math.isfinite(value):
            yield f"{key}={value}: it is not a finite number; give one"
    for key, choices in ONE_OF.items():
        value = _value(run, key)
        if value not in choices:
            near = plugin.nearest(str(value), [str(choice) for choice in choices])
            yield f"{key}={value}: it is none of {', '.join(map(str, choices))}{near}"
    for key, least in AT_LEAST.items():
        if _value(run, key) < least:
            yield f"{key}={_value(run, key)}: it must be at least {least:g}; raise it"
    for key in ABOVE_ZERO:
        if _value(run, key) <= 0:
            yield f"{key}={_value(run, key)}: it must be more than 0; raise it"
    for key in ("rollout.gpus", "learner.gpus"):
        gpus: float = _value(run, key)
        if gpus > 1 and not gpus.is_integer():
            yield f"{key}={gpus}: more than one GPU comes in whole numbers; use {gpus:.0f}"
    for index, beta in enumerate(run.learner.optimizer.betas):
        if not 0 <= beta < 1:
            yield f"learner.optimizer.betas[{index}]={beta}: a decay lies in [0, 1); such as 0.9"
    bound = run.learner.mismatch_bound
    if bound is not None and bound <= 0:
        yield f"learner.mismatch_bound={bound}: it must be more than 0; null only logs"
    if run.reward_service.max_failure_rate > 1:
        rate = run.reward_service.max_failure_rate
        yield f"reward_service.max_failure_rate={rate}: it is a share; use at most 1"
    for name, most in run.reward_service.quotas.items():
        if most < 1:
            yield (
                f"reward_service.quotas.{name}={most}: nothing of it would ever be graded; use at "
                "least 1, or remove it"
            )
    if run.evaluation.limit is not None and run.evaluation.limit < 1:
        yield (
            f"evaluation.limit={run.evaluation.limit}: it leaves no problem; use at least 1, or "
            "evaluation.problems=null to switch evaluation off"
        )


def _batch(run: RunConfig) -> Iterator[str]:
    problems, updates, rollouts = (
        run.problems_per_step,
        run.updates_per_step,
        run.rollouts_per_problem,
    )
    if updates >= 1 and problems >= 1 and problems % updates:
        lower, upper = problems // updates * updates, (problems // updates + 1) * updates
        yield (
            f"problems_per_step={problems}: {updates} updates_per_step can't share it equally; "
            f"use {f'{lower} or ' if lower else ''}{upper}"
        )
    elif updates >= 1 and problems // updates * max(rollouts, 1) < run.learner.workers:
        yield (
            f"learner.workers={run.learner.workers}: an update has only "
            f"{problems // updates * rollouts} samples, so ranks would stand idle; use fewer"
        )
    if run.min_graded > rollouts >= 1:
        yield (
            f"min_graded={run.min_graded}: a problem has only {rollouts} rollouts_per_problem, so "
            f"no group could train; use at most {rollouts}"
        )


def _sampling(run: RunConfig) -> Iterator[str]:
    if run.sampling.temperature <= 0:
        yield (
            f"sampling.temperature={run.sampling.temperature}: training needs different rollouts "
            "of one problem; use more than 0, such as 1.0 (evaluation is greedy by itself)"
        )
    if run.sampling.top_p != 1:
        yield (
            f"sampling.top_p={run.sampling.top_p}: the learner's log-probs are over the whole "
            "vocabulary, so training on a nucleus would take another policy for the sampler's; "
            "use 1.0"
        )
    longest = run.sampling.max_prompt_tokens + run.sampling.max_tokens
    if longest > run.learner.tokens_per_microbatch:
        yield (
            f"learner.tokens_per_microbatch={run.learner.tokens_per_microbatch}: a sample may have "
            f"{longest} tokens (sampling.max_prompt_tokens + sampling.max_tokens) and is never "
            f"split; use at least {longest}"
        )


def _model(run: RunConfig) -> Iterator[str]:
    if is_local(run.model):
        try:
            check_length(run, resolve_model(run.model))
        except ConfigError as error:
            yield str(error)


def _files(run: RunConfig) -> Iterator[str]:
    if (place := _reward_place(run)) is not None:
        yield from _reward_file(place)
    for key, node in (("problems", run.problems), ("evaluation.problems", run.evaluation.problems)):
        path = (node or {}).get("path")
        if isinstance(path, str) and _names_a_file(path) and not Path(path).expanduser().exists():
            folder = Path(path).expanduser().absolute().parent
            files = [p.name for p in folder.iterdir()] if folder.is_dir() else []
            near = plugin.nearest(Path(path).name, files)
            yield (
                f"{key}.path={path}: there is no {Path(path).expanduser().absolute()}{near}; "
                f"give {key}.path=FILE"
            )
    resume = run.checkpoint.resume
    if resume not in ("auto", "never") and not Path(resume).is_dir():
        yield f"checkpoint.resume={resume}: no such directory; use auto, never or a checkpoint's"


def _reward_place(run: RunConfig) -> str | None:
    """The ``file.py:function`` of the reward; None where it is a plug-in."""
    if isinstance(run.reward, dict):
        node = cast(dict[str, Any], run.reward)
        return None if "_target_" in node or "path" not in node else str(node["path"])
    return run.reward if isinstance(run.reward, str) else None


def _reward_file(reward: str) -> Iterator[str]:
    path, colon, function = reward.rpartition(":")
    if not colon or not path.endswith(".py") or not function.isidentifier():
        yield (
            f"reward={reward}: a reward is path/to/file.py:function, or a plug-in: "
            "reward._target_=package.module.Class"
        )
    elif not Path(path).expanduser().is_file():
        folder = Path(path).expanduser().absolute().parent
        near = plugin.nearest(Path(path).name, [p.name for p in folder.glob("*.py")])
        yield f"reward={reward}: there is no file {path}{near}; give the path of your reward file"


def _plugins(run: RunConfig) -> Iterator[str]:
    nodes: list[tuple[str, object, Iterable[str]]] = [
        ("problems", run.problems, ()),
        ("filter", run.filter, ()),
        ("advantage", run.advantage, ()),
        ("learner.loss", run.learner.loss, ()),
        *((f"shaping[{index}]", node, ()) for index, node in enumerate(run.shaping)),
        *((f"learner.terms[{i}]", node, ()) for i, node in enumerate(run.learner.terms)),
        *((f"learner.corrections[{i}]", n, ()) for i, n in enumerate(run.learner.corrections)),
        *((f"sinks[{index}]", node, SINK_ARGUMENTS) for index, node in enumerate(run.sinks)),
    ]
    if _reward_place(run) is None:
        nodes.append(("reward", run.reward, ()))
    for key, node in (
        ("evaluation.problems", run.evaluation.problems),
        ("reward_kl", run.reward_kl),
        ("probe", run.probe),
        ("sampling.temperature_control", run.sampling.temperature_control),
    ):
        if node is not None:
            nodes.append((key, node, ()))
    for key, node, given in nodes:
        if isinstance(node, dict):
            yield from _refusal(key, plugin.check, cast(dict[str, Any], node), given)
        else:
            yield f"{key}={node}: a plug-in names its class; use {key}._target_=package.Class"
    channel = run.weights.channel
    yield from _refusal("weights.channel", plugin.locate, f"{channel}.Sender")


def _refusal(key: str, call: Callable[..., object], *args: object) -> Iterator[str]:
    try:
        call(*args)
    except plugin.PluginError as error:
        yield f"{key}: {error}"


def _numbers(section: Any, prefix: str) -> Iterator[tuple[str, float]]:
    for item in fields(section):
        value: object = getattr(section, item.name)
        if is_dataclass(value):
            yield from _numbers(value, f"{prefix}{item.name}.")
        elif isinstance(value, float):
            yield f"{prefix}{item.name}", value


def _value(run: RunConfig, key: str) -> Any:
    value: Any = run
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _names_a_file(path: str) -> bool:
    return path.startswith(("/", "./", "../", "~")) or Path(path).suffix in (
        ".jsonl",
        ".json",
        ".parquet",
    )
