"""Every recipe on the tiny model: its own loss, credit and models, on a real engine and learner."""

import asyncio
import math
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from bench.shared_engine import SharedEngine
from rlvr import recipes
from rlvr.checkpoint import open_checkpoint
from rlvr.metrics import describe
from tests.train.conftest import train

pytestmark = pytest.mark.slow
MISMATCH = 1e-4
"""Largest mean absolute difference between engine and learner log-probs in fp32 (nats)."""
SMALL = (
    "over=tiny",
    "steps=2",
    "problems_per_step=16",
    "rollouts_per_problem=4",
    "problems.levels=[1]",
    "problems.size=64",
    "evaluation.problems=null",
    "sampling.max_tokens=32",
    "reward_service.processes=1",
)
PRETRAINED = {"vc_ppo": 4, "vapo": 4}
"""Updates that train the critic alone: here those of the first step."""
FITTED = {name: (f"learner.critic.only_steps={count}",) for name, count in PRETRAINED.items()} | {
    "one_shot": ("problems.size=1",)
}
CRITIC = {"critic/vf_loss", "critic/vf_explained_var", "critic/grad_norm", "critic/vf_clipfrac"}
REWARD_KL = {"actor/reward_kl_penalty", "actor/reward_kl_penalty_coeff"}
KL = {"actor/kl_loss", "actor/kl_coef"}
CLIP = {"actor/pg_clipfrac"}
MEASURED = {
    "areal": CLIP | {"actor/behaviour_weight", "actor/behaviour_capped"},
    "cispo": CLIP,
    "confucius": CLIP | {"actor/entropy_coef", "difficulty/kept"},
    "dapo": CLIP | {"difficulty/kept"},
    "dpo": {"actor/rewards/accuracies", "actor/rewards/margins"},
    "dr_grpo": CLIP,
    "grpo": CLIP | KL,
    "gspo": CLIP,
    "kimi": {"actor/ratio_mean"},
    "nft": {"actor/nft_floored"},
    "one_shot": CLIP | KL | {"actor/entropy_coef"},
    "ppo": CLIP | CRITIC,
    "reinforce_pp": CLIP | REWARD_KL,
    "rft": {"actor/nll", "actor/positive_share"},
    "rloo": REWARD_KL,
    "topr": {"actor/negative_weight"},
    "vapo": CLIP | CRITIC | {"actor/nll"},
    "vc_ppo": CLIP | CRITIC,
}
"""What shows that a method's own parts were at work."""


@dataclass(frozen=True)
class Trained:
    run: recipes.RunConfig
    steps: list[dict[str, float]]
    before: list[int | None]
    """Checksums of the weights that the first step begins with."""
    after: list[int | None]


def settings(name, model):
    return recipes.load([f"recipe={name}", *SMALL, *FITTED.get(name, ()), f"model={model}"])


@pytest.fixture(scope="module")
def two_steps(base_model, tmp_path_factory):
    """Trains a recipe for two steps. One engine serves all of them."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        starting = SharedEngine.started(
            settings("grpo", base_model), tmp_path_factory.mktemp("recipes")
        )
        engine = runner.run(stack.enter_async_context(starting))

        async def trained(name):
            run = settings(name, base_model)
            async with engine.trainee(run) as trainee:
                before = await trainee.learner.publish(trainee.loop.version)
                await trainee.loop.run()
                after = await trainee.learner.publish(trainee.loop.version)
                sums = [[tensor.checksum for tensor in sent.tensors] for sent in (before, after)]
                return Trained(run, trainee.log.steps, *sums)

        yield lambda name: runner.run(trained(name))
        runner.run(stack.aclose())


def test_every_method_is_trained_here():
    assert MEASURED.keys() == set(recipes.names()) - {"grpo_qwen1.5b", "grpo_tiny", "grpo_puzzles"}


@pytest.mark.parametrize("name", MEASURED)
def test_a_recipe_trains(two_steps, name):
    result = two_steps(name)
    first, second = result.steps
    updates = result.run.updates_per_step
    assert (first["loop/version"], second["loop/version"]) == (updates, 2 * updates)
    for step in result.steps:
        assert all(math.isfinite(value) for value in step.values()), step
        assert {key for key in step if describe(key) is None} <= {"step"}
        assert step["loop/lag_max"] <= result.run.max_lag
        assert step["sync/probe_difference"] < MISMATCH
        assert step.get("critic/skipped", 0.0) == 0.0
    assert second.keys() >= MEASURED[name] | {"actor/pg_loss", "actor/grad_norm", "actor/entropy"}
    assert second["actor/skipped"] == 0.0
    assert None not in result.before
    assert result.before != result.after
    if name in PRETRAINED:
        # The critic alone: the second step is then the policy's first.
        assert not [key for key in first if key.startswith("actor/")]
        assert first.keys() >= CRITIC
        first = second
    assert first["mismatch/logprob_abs_mean"] < MISMATCH
    if updates == 1:
        assert abs(first["actor/ppo_kl"]) < MISMATCH
        assert first["actor/ratio_mean"] == pytest.approx(1.0, abs=MISMATCH)
    if MEASURED[name] >= KL:
        # The policy is its own reference until it has been updated.
        assert first["actor/kl_loss"] == pytest.approx(0.0, abs=1e-6)
        assert second["actor/kl_loss"] > 0


def test_a_critic_is_part_of_the_command_its_plan_and_its_checkpoint(base_model, tmp_path):
    words = ("recipe=ppo", *SMALL, f"model={base_model}")
    outcome = train(tmp_path / "run", *words, "steps=1")
    assert outcome.code == 0, outcome.output
    assert "Gae(gamma=1.0, lambda_actor=1.0, lambda_critic=1.0, whiten=True)" in outcome.output
    assert "value_clip=0.2, only_steps=0" in outcome.output
    assert open_checkpoint(tmp_path / "run/checkpoints/step-000001").step == 1
    resumed = train(tmp_path / "run", *words, "steps=2")
    assert resumed.code == 0, resumed.output
    assert [row["step"] for row in resumed.steps] == [1, 2]
    # Warm-up went on where it stopped, and did not begin anew.
    assert resumed.steps[1]["critic/lr"] > resumed.steps[0]["critic/lr"]
    assert all(row.keys() >= CRITIC for row in resumed.steps)


def test_a_reference_that_follows_the_policy_is_part_of_the_command(base_model, tmp_path):
    words = ("recipe=rloo", *SMALL, f"model={base_model}", "learner.reference.ema_decay=0.5")
    outcome = train(tmp_path / "run", *words, "checkpoint.every=1")
    assert outcome.code == 0, outcome.output
    assert "(ema_decay=0.5)" in outcome.output
    penalties = [row["actor/reward_kl_penalty"] for row in outcome.steps]
    assert penalties[0] == pytest.approx(0.0, abs=1e-5)
    assert penalties[1] != penalties[0]
