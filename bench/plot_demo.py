"""Draws a run's reward and held-out accuracy over its steps, for the README.

    python bench/plot_demo.py runs/grpo_tiny/NAME bench/figures/demo.svg

Needs matplotlib.
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

GREEDY, SAMPLED = "val-core/all/acc/greedy", "val-core/all/acc/mean@8"


def main(run_dir: Path, out: Path) -> None:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    mpl.rcParams["svg.hashsalt"] = "rlvr"
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for key, label, style in (
        ("critic/score/mean", "reward of the sampled rollouts", {"alpha": 0.6}),
        (GREEDY, "held-out accuracy, greedy", {"marker": "o"}),
        (SAMPLED, "held-out accuracy, mean of 8", {"marker": "s"}),
    ):
        points = [(row["step"], row[key]) for row in rows if key in row]
        axes.plot(*zip(*points, strict=True), label=label, **style)
    axes.set(xlabel="step", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
