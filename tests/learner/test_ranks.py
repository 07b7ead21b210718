"""The whole learner on one and two ranks, through gloo and DeepSpeed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlvr.kernels.reference import reference_statistics
from rlvr.learner.aggregation import token_weights
from rlvr.learner.group import shares, shuffled
from rlvr.learner.loss import LossInputs, LossOutput
from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.mismatch import MismatchError
from rlvr.remote import WorkerDied
from tests.learner.ranks import Adam, Descent, Learner, RankProcess, batch, settings

pytestmark = pytest.mark.slow


def plain_update(model: str, samples, *, lr: float, aggregation: str = "token-mean"):
    """One step of gradient descent in plain torch, sample by sample. Returns loss and weights."""
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    lengths_B = np.array([len(s.rollout.completion_ids_T) for s in samples])
    weights_B = token_weights(lengths_B, aggregation, max_tokens=16)
    total = 0.0
    for sample, weight in zip(samples, weights_B, strict=True):
        rollout = sample.rollout
        ids = torch.tensor([rollout.prompt_ids + rollout.completion_ids_T])
        tokens = len(rollout.completion_ids_T)
        hidden = policy.base_model(input_ids=ids).last_hidden_state[0, -tokens - 1 : -1]
        logprobs, entropy = reference_statistics(
            hidden, policy.get_output_embeddings().weight, ids[0, -tokens:]
        )
        ones = torch.ones(tokens, dtype=torch.float64)
        output = Clipped()(
            LossInputs(
                logprobs_T=logprobs,
                entropy_T=entropy,
                sampled_logprobs_T=torch.tensor(rollout.logprobs_T, dtype=torch.float64),
                advantages_T=ones * sample.advantage,
                weights_T=ones * float(weight),
                mask_T=ones.bool(),
            )
        )
        output.loss.backward()
        total += output.loss.item()
    parameters = dict(policy.named_parameters())
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters.values()]).item()
    return total, norm, {n: (p - lr * p.grad).detach().numpy() for n, p in parameters.items()}


def assert_same(ours, theirs, atol):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_an_update_is_that_of_plain_torch(learner, tied, untied, world_size, zero_stage):
    model = tied if world_size == 2 else untied
    samples = batch().samples
    made = learner(world_size=world_size, zero_stage=zero_stage, model=model, lr=1.0)
    metrics = made.step(batch())
    loss, norm, expected = plain_update(model, samples, lr=1.0)
    assert metrics["actor/pg_loss"] == pytest.approx(loss, rel=1e-5, abs=1e-7)
    assert metrics["actor/grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert metrics["actor/skipped"] == 0
    assert_same(made.parameters(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens_per_microbatch": 24},
        {"tokens_per_microbatch": 10_000},
        {"layout": "packed"},
        {"head_chunk": 3},
        {"activation_checkpointing": True},
    ],
    ids=lambda changes: "-".join(f"{name}={value}" for name, value in changes.items()),
)
def test_how_the_batch_is_cut_changes_nothing(learner, tied, changes):
    made = learner(lr=1.0, **changes)
    metrics = made.step(batch())
    loss, norm, expected = plain_update(tied, batch().samples, lr=1.0)
    assert metrics["actor/pg_loss"] == pytest.approx(loss, rel=1e-5, abs=1e-7)
    assert metrics["actor/grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert_same(made.parameters(), expected, atol=1e-6)


def test_the_order_of_the_samples_changes_nothing(learner, tied):
    there = batch()
    back = replace(there, samples=there.samples[::-1])
    made = learner(world_size=2, lr=1.0)
    made.step(back)
    assert_same(made.parameters(), plain_update(tied, there.samples, lr=1.0)[2], atol=1e-6)


@pytest.mark.parametrize(
    "aggregation", ["seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"]
)
def test_an_aggregation_is_the_same_on_two_ranks(learner, tied, aggregation):
    made = learner(world_size=2, lr=0.1, aggregation=aggregation)
    made.step(batch())
    expected = plain_update(tied, batch().samples, lr=0.1, aggregation=aggregation)[2]
    assert_same(made.parameters(), expected, atol=1e-6)


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_a_rank_without_samples_keeps_in_step(learner, tied, zero_stage):
    lone = batch(problems=1, rollouts=1)
    made = learner(world_size=2, lr=0.1, zero_stage=zero_stage)
    metrics = made.step(lone)
    assert metrics["perf/microbatches"] == 2
    assert_same(made.parameters(), plain_update(tied, lone.samples, lr=0.1)[2], atol=1e-6)


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_gradients_are_clipped_to_the_norm(learner, tied, zero_stage):
    before = plain_update(tied, batch().samples, lr=0.0)
    made = learner(zero_stage=zero_stage, lr=1.0, grad_clip=0.5)
    metrics = made.step(batch())
    moved = np.sqrt(sum(((v - before[2][n]) ** 2).sum() for n, v in made.parameters().items()))
    assert metrics["actor/grad_norm"] == pytest.approx(before[1], rel=1e-4)
    assert before[1] > 0.5
    assert moved == pytest.approx(0.5, rel=1e-3)


MARK = 77.0


class Overflowing:
    """At an advantage of ``MARK`` its value is infinite, and its gradient is as ever."""

    def __call__(self, inputs: LossInputs) -> LossOutput:
        output = Clipped()(inputs)
        is_marked = (inputs.advantages_T == MARK).any()
        return replace(output, loss=output.loss + torch.where(is_marked, torch.inf, 0.0))


@pytest.mark.parametrize("advantage", [float("nan"), MARK], ids=["gradient", "loss alone"])
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_an_update_that_is_not_finite_is_skipped_and_counted(learner, tied, zero_stage, advantage):
    good = batch()
    first = good.samples[0]
    broken = replace(first, advantage=advantage)
    made = learner(zero_stage=zero_stage, lr=1.0, world_size=2, loss=Overflowing())
    metrics = made.step(replace(good, samples=(broken, *good.samples[1:])))
    assert metrics["actor/skipped"] == 1
    assert "actor/grad_norm" not in metrics
    assert made.step(good)["actor/skipped"] == 0
    assert_same(made.parameters(), plain_update(tied, good.samples, lr=1.0)[2], atol=1e-6)


def test_a_step_of_two_updates_is_two_steps(learner):
    whole = batch(problems=4)
    by_chance = shuffled(whole.samples, seed=whole.version)
    halves = [replace(whole, samples=tuple(part)) for part in shares(by_chance, 2)]
    made = learner(world_size=2, lr=0.1, updates_per_step=2)
    metrics = made.step(whole)
    assert metrics["perf/loss_tokens"] == whole.loss_tokens
    together = made.parameters()
    made = learner(world_size=2, lr=0.1)
    for half in halves:
        made.step(half)
    assert_same(together, made.parameters(), atol=1e-7)


def test_the_learning_rate_warms_up_by_updates(learner):
    made = learner(lr=0.4, warmup_steps=4, worker=Adam)
    rates = [made.step(batch())["actor/lr"] for _ in range(6)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_bfloat16_goes_the_same_way(learner, untied, zero_stage):
    made = learner(world_size=2, lr=1.0, dtype="bfloat16", zero_stage=zero_stage, model=untied)
    metrics = made.step(batch())
    loss, norm, _ = plain_update(untied, batch().samples, lr=1.0)
    assert metrics["actor/pg_loss"] == pytest.approx(loss, rel=0.05, abs=0.01)
    assert metrics["actor/grad_norm"] == pytest.approx(norm, rel=0.05)


@pytest.mark.parametrize(("world_size", "zero_stage"), [(1, 0), (2, 0), (2, 2), (2, 3)])
def test_a_loaded_learner_goes_on_as_if_nothing_had_been(learner, tmp_path, world_size, zero_stage):
    changes = {
        "world_size": world_size,
        "zero_stage": zero_stage,
        "worker": Adam,
        "lr": 0.01,
        "warmup_steps": 5,
    }
    made = learner(**changes)
    for seed in range(2):
        made.step(batch(seed=seed))
    made.save(str(tmp_path / "state"))
    drawn = made.on_all("draw")
    rate = made.step(batch(seed=2))["actor/lr"]
    expected = made.parameters()

    made = learner(**changes, seed=9)
    made.step(batch(seed=7))
    made.load(str(tmp_path / "state"))
    assert made.on_all("draw") == drawn
    assert made.step(batch(seed=2))["actor/lr"] == rate
    assert_same(made.parameters(), expected, atol=0)


def test_a_checkpoint_of_other_ranks_is_refused(learner, tmp_path):
    learner(world_size=2, zero_stage=1).save(str(tmp_path))
    with pytest.raises(ValueError, match="saved by 2 ranks"):
        learner(world_size=1, zero_stage=1).load(str(tmp_path))


@pytest.mark.parametrize(("world_size", "zero_stage"), [(1, 0), (2, 3)])
@pytest.mark.parametrize("model", ["tied", "untied"])
def test_an_export_loads_with_transformers(
    learner, request, tmp_path, world_size, zero_stage, model
):
    source = request.getfixturevalue(model)
    made = learner(world_size=world_size, zero_stage=zero_stage, model=source)
    made.step(batch())
    made.export_hf(str(tmp_path))
    loaded, problems = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(problems.values())
    names = dict(loaded.named_parameters())
    assert ("lm_head.weight" in names) == (model == "untied")
    exported = {name: tensor.detach().numpy() for name, tensor in names.items()}
    assert_same(exported, made.parameters(), atol=0)
    assert AutoTokenizer.from_pretrained(tmp_path).convert_tokens_to_ids("w7") == 7
    assert (tmp_path / "generation_config.json").exists()


@pytest.mark.parametrize(("world_size", "zero_stage"), [(1, 0), (2, 3)])
def test_what_is_published_is_named_as_in_a_checkpoint_and_proven_by_its_logprobs(
    learner, tied, world_size, zero_stage
):
    made = learner(world_size=world_size, zero_stage=zero_stage, probe_every=2)
    policy = AutoModelForCausalLM.from_pretrained(tied, dtype=torch.float32)
    first, second, third = (made.publish(version) for version in range(3))
    assert [m.version for m in (first, second, third)] == [0, 1, 2]
    assert [entry.name for entry in first.tensors] == [n for n, _ in policy.named_parameters()]
    assert second.probe is None
    assert first.probe == third.probe
    ids = torch.tensor([first.probe.token_ids_T])
    logprobs = policy(input_ids=ids).logits[0, :-1].log_softmax(-1)
    expected = logprobs.gather(1, ids[0, 1:, None])[:, 0]
    np.testing.assert_allclose(first.probe.logprobs_T, expected.detach(), atol=1e-4)
    assert made.step(batch())["actor/skipped"] == 0


def on_policy(model: str, there, *, temperature: float = 1.0, told: float | None = None):
    """The batch with the log-probs that the model itself gives; ``told`` is what rollouts say."""
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    samples = []
    for sample in there.samples:
        rollout = sample.rollout
        ids = torch.tensor([rollout.prompt_ids + rollout.completion_ids_T])
        tokens = len(rollout.completion_ids_T)
        logits = policy(input_ids=ids).logits[0, -tokens - 1 : -1] / temperature
        logprobs = logits.log_softmax(-1).gather(1, ids[0, -tokens:, None])[:, 0]
        rollout = replace(
            rollout, logprobs_T=tuple(logprobs.tolist()), temperature=told or temperature
        )
        samples.append(replace(sample, rollout=rollout))
    return replace(there, samples=tuple(samples))


def test_on_policy_the_ratio_is_one_and_sampler_and_learner_agree(learner, tied):
    made = learner(world_size=2, mismatch_bound=1e-3)
    metrics = made.step(on_policy(tied, batch(), temperature=0.7))
    assert metrics["actor/ratio_mean"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["actor/ppo_kl"] == pytest.approx(0.0, abs=1e-5)
    assert metrics["actor/pg_clipfrac"] == 0
    assert metrics["mismatch/logprob_abs_max"] < 1e-4
    assert metrics["mismatch/k3"] == pytest.approx(0.0, abs=1e-6)


def test_another_temperature_than_the_samplers_stops_the_run(learner, tied):
    made = learner(world_size=2, mismatch_bound=1e-3)
    before = made.parameters()
    with pytest.raises(MismatchError, match=r"more than the bound 0\.001.*temperature"):
        made.step(on_policy(tied, batch(), temperature=0.7, told=1.0))
    assert_same(made.parameters(), before, atol=0)


def test_tokens_of_older_weights_are_left_out_of_the_mismatch(learner, tied):
    fresh = on_policy(tied, batch(problems=1))
    stale = batch(problems=3, seed=5, version=0)
    fresh = tuple(
        replace(s, rollout=replace(s.rollout, versions_T=(1,) * len(s.rollout.versions_T)))
        for s in fresh.samples
    )
    mixed = replace(stale, samples=fresh + stale.samples, version=1)
    metrics = learner(mismatch_bound=1e-3).step(mixed)
    assert metrics["mismatch/logprob_abs_max"] < 1e-4


def test_a_rank_that_dies_is_the_one_that_is_named(tied):
    processes = [RankProcess(f"learner-{rank}") for rank in range(2)]
    try:
        made = Learner(processes, tied, Descent, settings())
        processes[1].stop()
        with pytest.raises(WorkerDied, match="learner-1 is gone") as raised:
            made.step(batch())
        assert any("learner-0 failed too" in note for note in raised.value.__notes__)
    finally:
        for process in processes:
            process.stop()


def test_the_check_waits_for_an_update_that_is_all_on_policy(learner):
    made = learner(mismatch_bound=1e-3)
    there = batch()
    stale = replace(there, version=1)
    assert made.step(stale)["actor/skipped"] == 0
    with pytest.raises(MismatchError):
        made.step(there)
