import json
from pathlib import Path

from bench.measured import Evaluation, Step
from bench.train_cpu import read_ours
from rlvr.config import RunConfig

LINES = (
    {"step": 0, "val-core/all/acc/greedy": 0.3, "timing_s/testing": 4.0},
    {"step": 1, "timing_s/step": 2.0, "perf/samples": 20.0, "perf/tokens": 300.0},
    {
        "step": 2,
        "timing_s/step": 1.5,
        "perf/samples": 16.0,
        "perf/tokens": 310.0,
        "val-core/all/acc/greedy": 0.6,
        "val-core/arithmetic/1/acc/greedy": 0.9,
        "timing_s/testing": 4.0,
    },
    {"step": 3, "timing_s/step": 1.0, "perf/samples": 16.0, "perf/tokens": 320.0},
)


def test_our_files_give_steps_and_evaluations_over_all_levels(tmp_path: Path):
    metrics = "".join(json.dumps(line) + "\n" for line in LINES)
    (tmp_path / "metrics.jsonl").write_text(metrics)
    (tmp_path / "summary.json").write_text(json.dumps({"after": {"greedy": 0.9}}))
    run = RunConfig(steps=3, problems_per_step=4, rollouts_per_problem=4)
    steps, evaluations = read_ours(run, tmp_path)
    assert steps[0] == Step(step=1, seconds=2.0, trained=16, sampled=20, sampled_tokens=300)
    assert [step.step for step in steps] == [1, 2, 3]
    assert evaluations == (
        Evaluation(step=0, accuracy=0.3),
        Evaluation(step=2, accuracy=0.6),
        Evaluation(step=3, accuracy=0.9),
    )
