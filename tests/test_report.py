import pytest

from rlvr import report
from rlvr.algorithm import algorithm
from rlvr.config import ConfigError
from rlvr.recipes import load


def test_what_failed_many_calls_alike_is_told_once_and_the_traceback_is_kept(tmp_path):
    same = [RuntimeError("rollout-0 died"), RuntimeError("rollout-0 died")]
    group = ExceptionGroup("calls", [ExceptionGroup("engines", same), ValueError("other")])
    told = report.failure(group, str(tmp_path))
    assert told.count("RuntimeError: rollout-0 died") == 1
    assert told.count("ValueError: other") == 1
    assert "rollout-0 died" in (tmp_path / "error.txt").read_text()


def knobs(*words: str) -> dict[str, str]:
    run = load(list(words), model=False)
    return dict(report.knobs(run, algorithm(run)))


def test_the_plan_shows_each_part_of_the_algorithm_with_the_defaults_that_a_recipe_leaves_out():
    shown = knobs("recipe=dapo")
    assert shown["advantage"] == "Grpo(mean=group, std=group, ddof=1, eps=1e-06, min_std=0.0)"
    assert shown["loss"] == "Clipped(clip_low=0.2, clip_high=0.28, dual_clip=None)"
    assert shown["aggregation"] == "token-mean"
    assert "SoftOverlong(max_tokens=3072, buffer=0.2, factor=1.0)" in shown["shaping"]
    assert shown["filter"] == "BalancedBand(low=0.01, high=0.99, rest=0)"
    assert {
        shown[name] for name in ("terms", "corrections", "reward KL", "critic", "reference")
    } == {"none"}


def test_the_plan_shows_the_models_beside_the_policy_and_how_they_follow_it():
    critic = knobs("recipe=vapo")["critic"]
    assert critic.startswith("Qwen/Qwen2.5-Math-1.5B (value_clip=0.2, only_steps=200, lr=2e-06")
    assert knobs("recipe=rloo")["reference"] == "Qwen/Qwen2.5-Math-1.5B (fixed)"
    assert knobs("recipe=rloo", "learner.reference.ema_decay=0.99")["reference"].endswith(
        "(ema_decay=0.99)"
    )
    assert knobs("recipe=rloo", "learner.reference={model: Qwen/Other, sync_every: 8}")[
        "reference"
    ] == ("Qwen/Other (sync_every=8, sync_alpha=1.0)")


def test_the_plan_shows_which_weights_train_and_what_moves_the_temperature():
    assert knobs("recipe=dapo")["trains"] == "all weights"
    shown = knobs(
        "recipe=dapo",
        "learner.lora.rank=8",
        "learner.recompute_logprobs=true",
        "sampling.temperature_control={_target_: rlvr.rollout.temperature.EntropyTarget}",
    )
    assert shown["trains"] == "adapters: rank=8, alpha=32.0, targets=all-linear"
    assert shown["temperature"].startswith("EntropyTarget(target=0.3, rate=0.05")


def test_the_plan_says_what_ratios_are_against():
    assert knobs("recipe=areal")["ratios against"] == "the learner's own log-probs"
    assert knobs("recipe=dapo")["ratios against"] == "the sampler's"


def test_the_plan_shows_a_plugin_inside_of_a_plugin_and_one_of_ones_own_by_its_place(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("class Mine:\n    def __init__(self, inner, share=0.5): ...\n")
    shown = knobs(
        "recipe=dapo",
        f"advantage={{_target_: '{mine}:Mine', "
        "inner: {_target_: rlvr.advantages.dr_grpo.DrGrpo}}",
    )
    assert shown["advantage"] == f"{mine}:Mine(inner=DrGrpo(), share=0.5)"


def test_parts_that_do_not_go_together_have_no_plan():
    with pytest.raises(ConfigError, match=r"learner\.critic=null: Gae"):
        knobs("recipe=grpo", "advantage._target_=rlvr.advantages.gae.Gae")
