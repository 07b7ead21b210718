"""One learner with all its models: policy, critic, reference and adapters, step by step."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.mismatch import MismatchError
from rlvr.learner.objective import Objective
from rlvr.learner.settings import (
    CriticSettings,
    LoraSettings,
    OptimizerSettings,
    ReferenceSettings,
)
from rlvr.learner.terms.kl import AdaptiveKl
from rlvr.types import TrainBatch
from tests.learner.ranks import Adam, batch
from tests.learner.test_ranks import assert_same, on_policy

pytestmark = pytest.mark.slow

INF, NAN = float("inf"), float("nan")
MODELS = {
    "average": {"reference": {"ema_decay": 0.8}},
    "sync": {"reference": {"sync_every": 2, "sync_alpha": 0.5}},
    "fixed": {"reference": {}},
    "adapters": {"reference": {}, "lora": LoraSettings(rank=3, alpha=6.0)},
}
STAGES = pytest.mark.parametrize("zero_stage", [0, 3])


class Together(Adam):
    """A rank that shows what its models are made of; collective."""

    def weights(self) -> dict[str, np.ndarray]:
        """Of all of them, under the model's name and the parameter's."""
        zero = importlib.import_module("deepspeed").zero
        models = {"critic": self._critic and self._critic.model}
        if hasattr(self._reference, "_parts"):
            models["reference"] = self._reference._policy.language_model
        kept = {f"actor/{name}": array for name, array in self.parameters().items()}
        for model, module in models.items():
            if module is None:
                continue
            with zero.GatheredParameters(list(module.parameters()), modifier_rank=None):
                for name, parameter in module.named_parameters():
                    kept[f"{model}/{name}"] = parameter.detach().numpy().copy()
        return kept

    def controllers(self) -> dict:
        return self._objective.state_dict()


class Steep(Together):
    """Its policy's steps are its gradients."""

    def _optimizer(self, parameters):
        return torch.optim.SGD(parameters, lr=self._settings.optimizer.lr)


@pytest.fixture
def together(learner, tied):
    def make(models="average", *, world_size=2, worker=Together, only_steps=0, **changes):
        critic = CriticSettings(
            model=tied,
            optimizer=OptimizerSettings(lr=0.01, grad_clip=1.0),
            value_clip=0.3,
            only_steps=only_steps,
        )
        told = {
            "loss": Objective(loss=Clipped(), terms=(AdaptiveKl(coef=0.2, target=0.1),)),
            "critic": critic,
            "reference": ReferenceSettings(model=tied, **MODELS[models]["reference"]),
            "lora": MODELS[models].get("lora"),
            "recompute_logprobs": True,
            "lr": 0.02,
        }
        return learner(world_size=world_size, worker=worker, model=tied, **told | changes)

    return make


def weights(made) -> dict[str, np.ndarray]:
    return made.on_all("weights")[0]


def parts(all_weights, *models) -> dict[str, np.ndarray]:
    return {name: w for name, w in all_weights.items() if name.partition("/")[0] in models}


def moved(before, after) -> set[str]:
    """The models of which a parameter changed."""
    return {n.partition("/")[0] for n in before if not np.array_equal(before[n], after[n])}


def scored(made, there: TrainBatch) -> TrainBatch:
    """With what the learner's models say of it, and credit that is made up from that."""
    random = np.random.default_rng(len(there.samples))
    scores = made.score([sample.rollout for sample in there.samples], there.version)
    samples = []
    for sample, one in zip(there.samples, scores, strict=True):
        away_T = random.normal(0.3, 0.5, len(one.values_T))
        samples.append(
            replace(
                sample,
                scores=one,
                token_advantages_T=tuple(map(float, sample.advantage + away_T)),
                returns_T=tuple(map(float, np.array(one.values_T) + away_T)),
            )
        )
    return replace(there, samples=tuple(samples))


def step(made, seed: int) -> dict[str, float]:
    """A whole step; its metrics, but for those of the process."""
    metrics = made.step(scored(made, batch(seed=seed)))
    assert metrics["actor/skipped"] == metrics["critic/skipped"] == 0
    return {name: value for name, value in metrics.items() if not name.startswith("perf/")}


def numbers(scores) -> np.ndarray:
    """``[3, T]``."""
    return np.array(
        [
            [x for one in scores for x in getattr(one, name)]
            for name in ("logprobs_T", "reference_logprobs_T", "values_T")
        ]
    )


@STAGES
@pytest.mark.parametrize("models", ["average", "sync", "adapters"])
def test_a_loaded_learner_goes_on_with_all_its_models_bit_for_bit(
    together, tmp_path, models, zero_stage
):
    made = together(models, zero_stage=zero_stage)
    start = weights(made)
    for seed in range(3):
        step(made, seed)
    saved = weights(made)
    assert moved(start, saved) == {name.partition("/")[0] for name in start}
    made.save(str(tmp_path))
    drawn = made.on_all("draw")
    metrics = step(made, 3)
    expected = weights(made)

    made = together(models, zero_stage=zero_stage, seed=9)
    step(made, 7)
    made.load(str(tmp_path))
    assert_same(weights(made), saved, atol=0)
    assert made.on_all("draw") == drawn
    assert step(made, 3) == metrics
    assert_same(weights(made), expected, atol=0)


def test_scores_are_those_of_the_models(together, tied, untied):
    made = together(world_size=1, reference=ReferenceSettings(model=untied))
    rollouts = [sample.rollout for sample in batch().samples]
    rollouts[::2] = [replace(rollout, temperature=0.7) for rollout in rollouts[::2]]
    scores = made.score(rollouts, 0)
    for path, name in ((tied, "logprobs_T"), (untied, "reference_logprobs_T")):
        policy = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        for rollout, one in zip(rollouts, scores, strict=True):
            ids = torch.tensor([rollout.prompt_ids + rollout.completion_ids_T])
            tokens = len(rollout.completion_ids_T)
            with torch.no_grad():
                logits = policy(input_ids=ids).logits[0, -tokens - 1 : -1] / rollout.temperature
            expected_T = logits.log_softmax(-1).gather(1, ids[0, -tokens:, None])[:, 0]
            np.testing.assert_allclose(getattr(one, name), expected_T, rtol=0, atol=1e-5)


@pytest.mark.parametrize("models", ["average", "adapters"])
@pytest.mark.parametrize(
    "changes",
    [
        {"world_size": 1, "tokens_per_microbatch": 24},
        {"world_size": 1, "layout": "packed"},
        {"world_size": 2, "zero_stage": 3},
        {"world_size": 2, "layout": "packed", "tokens_per_microbatch": 30, "zero_stage": 2},
    ],
    ids=lambda changes: "-".join(f"{name}={value}" for name, value in changes.items()),
)
def test_scores_come_in_the_order_of_the_samples_however_these_are_cut(together, models, changes):
    made = together(models, worker=Steep, **changes)
    # Until then the critic says 0 of every token.
    for seed in range(2):
        step(made, seed)
    rollouts = [sample.rollout for sample in batch().samples]
    found = numbers(made.score(rollouts, 0)[::3])
    alone = numbers([made.score([rollout], 0)[0] for rollout in rollouts[::3]])
    np.testing.assert_allclose(found, alone, rtol=0, atol=2e-5)
    assert (np.abs(found[0] - found[1]) > 1e-3).mean() > 0.5
    assert np.std(found[2]) > 1e-3


@STAGES
def test_while_the_critic_is_pretrained_all_else_stays(together, zero_stage):
    made = together(zero_stage=zero_stage, worker=Steep, only_steps=2)
    before = weights(made)
    for seed in range(2):
        now = weights(made)
        metrics = made.step(scored(made, batch(seed=seed)))
        assert moved(now, weights(made)) == {"critic"}
        assert not any(name.startswith("actor/") for name in metrics)
        assert metrics["critic/skipped"] == 0
    whole = scored(made, batch(seed=2))
    assert made.step(whole)["actor/skipped"] == 0
    after = weights(made)
    assert moved(before, after) == {"actor", "critic", "reference"}

    alone = together(zero_stage=zero_stage, worker=Steep)
    alone.step(whole)
    expected = weights(alone)
    assert_same(parts(after, "actor", "reference"), parts(expected, "actor", "reference"), atol=0)


@STAGES
def test_a_wrong_sampler_shows_in_the_first_update_though_it_trains_the_critic(
    together, tied, zero_stage
):
    def make():
        return together(zero_stage=zero_stage, only_steps=3, mismatch_bound=1e-3)

    made = make()
    before = weights(made)
    with pytest.raises(MismatchError, match="more than the bound"):
        made.step(scored(made, batch()))
    assert moved(before, weights(made)) == set()

    made = make()
    there = replace(on_policy(tied, batch()), version=1)
    stale = made.step(scored(made, there))
    assert stale["critic/skipped"] == 0
    fresh = made.step(scored(made, replace(there, version=0)))
    assert 0 < fresh["mismatch/logprob_abs_max"] < 1e-4
    later = made.step(scored(made, batch()))
    assert not any(name.startswith("mismatch/") for name in later)


def broken(there: TrainBatch, **fields) -> TrainBatch:
    """The first token of the first sample has these."""
    one = there.samples[0]
    changed = {name: (value, *getattr(one, name)[1:]) for name, value in fields.items()}
    return replace(there, samples=(replace(one, **changed), *there.samples[1:]))


@STAGES
@pytest.mark.parametrize("models", ["average", "adapters"])
def test_a_loss_that_is_not_finite_leaves_policy_and_reference_as_they_are(
    together, models, zero_stage
):
    made = together(models, zero_stage=zero_stage, worker=Steep)
    first = scored(made, batch(seed=1))
    made.step(first)
    there = scored(made, batch())
    before = weights(made)
    metrics = made.step(broken(there, token_advantages_T=INF))
    assert (metrics["actor/skipped"], metrics["critic/skipped"]) == (1, 0)
    assert "actor/grad_norm" not in metrics
    assert np.isfinite(metrics["critic/grad_norm"])
    assert moved(before, weights(made)) == {"critic"}

    # To policy, reference and coefficients it is as if that update had not been.
    metrics = made.step(there)
    ours = weights(made)
    fresh = together(models, zero_stage=zero_stage, worker=Steep)
    fresh.step(first)
    assert actors(fresh.step(there)) == actors(metrics)
    theirs = weights(fresh)
    assert_same(parts(ours, "actor", "reference"), parts(theirs, "actor", "reference"), atol=0)


def test_an_update_whose_rollouts_were_all_cut_measures_nothing_and_moves_no_controller(together):
    made = together()
    there = scored(made, batch())
    cut = replace(there, samples=tuple(replace(s, trains=False) for s in there.samples))
    before = made.on_all("controllers")
    metrics = made.step(cut)
    assert metrics["actor/grad_norm"] == 0.0
    assert "actor/kl_loss" not in metrics
    assert made.on_all("controllers") == before


def actors(metrics: dict[str, float]) -> dict[str, float]:
    assert metrics["actor/skipped"] == 0
    return {name: value for name, value in metrics.items() if name.startswith("actor/")}


def test_a_checkpoint_of_other_adapters_is_refused(together, tmp_path):
    together("adapters", world_size=1).save(str(tmp_path))
    made = together("adapters", world_size=1, lora=LoraSettings(rank=3, alpha=3.0))
    with pytest.raises(ValueError, match=r"alpha=6\.0.*and this learner has.*alpha=3\.0"):
        made.load(str(tmp_path))


@STAGES
def test_a_return_that_is_not_finite_leaves_the_critic_alone_as_it_is(together, zero_stage):
    made = together(zero_stage=zero_stage, worker=Steep)
    before = weights(made)
    there = scored(made, batch())
    metrics = made.step(broken(there, returns_T=NAN))
    assert (metrics["actor/skipped"], metrics["critic/skipped"]) == (0, 1)
    assert "critic/grad_norm" not in metrics
    assert moved(before, weights(made)) == {"actor", "reference"}
    assert made.step(there)["critic/skipped"] == 0
    assert moved(before, weights(made)) == {"actor", "critic", "reference"}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"critic": None}, "actor, critic, reference, and this learner has actor, reference"),
        ({"reference": None}, "actor, critic, reference, and this learner has actor, critic"),
        ({"models": "fixed"}, "was saved with a moving reference and this one is fixed"),
        ({"models": "adapters"}, r"learner\.lora=None, and this learner has LoraSettings\(rank=3"),
        ({"zero_stage": 3}, "at ZeRO stage 0, and this is 1 ranks at stage 3"),
    ],
)
def test_a_checkpoint_of_other_models_is_refused(together, tmp_path, changes, complaint):
    together(world_size=1).save(str(tmp_path))
    made = together(world_size=1, **changes)
    with pytest.raises(ValueError, match=complaint):
        made.load(str(tmp_path))
