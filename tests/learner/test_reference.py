"""The reference policy on one and two ranks, beside a policy that trains."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from rlvr.learner.engine import Engine
from rlvr.learner.lora import add_adapters
from rlvr.learner.loss import LossOutput
from rlvr.learner.model import load_policy
from rlvr.learner.reference import AdapterReference, Reference, load_reference
from rlvr.learner.settings import LoraSettings, OptimizerSettings, ReferenceSettings
from tests.learner.hosted import CPU, Group, Hosted, learner_settings, microbatch

SEEDS = (0, 1)
PERSISTENT = {"zero_optimization": {"stage3_param_persistence_threshold": 100_000}}
"""All of so small a model stays gathered between forward passes, as norms of a large one do."""

OFFLOADED = {
    "zero_optimization": {
        "stage3_param_persistence_threshold": 0,
        "offload_param": {"device": "cpu", "pin_memory": False},
        "offload_optimizer": {"device": "cpu", "pin_memory": False},
    }
}


class HostedReference(Hosted):
    """A policy that descends steeply, and its reference."""

    def make(self, model) -> None:
        settings = self.settings
        self.policy = load(model, settings)
        if settings.lora is not None:
            add_adapters(self.policy.language_model, settings.lora, seed=1)
        if settings.zero_stage == 3:
            zero = importlib.import_module("deepspeed").zero
            zero.register_external_parameter(self.policy.head, self.policy.head.weight_VH)
        trained = [p for p in self.policy.parameters() if p.requires_grad]
        self.engine = Engine(
            self.policy,
            name="actor",
            settings=settings,
            optimizer=settings.optimizer,
            torch_optimizer=torch.optim.SGD(trained, lr=0.0),
        )
        self.reference = load_reference(settings, self.policy, device=CPU)

    def kind(self):
        return type(self.reference).__name__

    def reference_logprobs(self, seed):
        logprobs_T = self.reference.logprobs(microbatch(seed))
        assert not logprobs_T.requires_grad
        return logprobs_T.float().numpy().copy()

    def policy_logprobs(self, seed):
        with torch.no_grad():
            return run(self.engine, microbatch(seed))[1].float().numpy().copy()

    def train(self, follows=True):
        """One update; the policy's weights after it."""
        batches = self.mine(SEEDS)
        for index, tensors in enumerate(batches):
            weights_T = tensors["weights_T"]

            def token_loss(rows, logprobs_C, entropy_C, weights_T=weights_T):
                return LossOutput(loss=-(logprobs_C * weights_T[rows]).sum(), metrics={})

            loss, *_ = run(self.engine, tensors, token_loss)
            self.engine.backward(loss, last=index == len(batches) - 1)
        assert self.engine.step() is not None
        if follows:
            self.reference.follow(self.policy, self.engine.updates)
        return self.full(self.policy)

    def follow(self, updates):
        self.reference.follow(self.policy, updates)

    def parameters(self):
        return self.full(self.reference._policy)

    def masters(self):
        return {name: part.numpy().copy() for name, part in self.reference._masters.items()}

    def save(self, directory):
        return self.engine.save(directory), self.reference.save(directory)

    def load(self, directory, states):
        self.engine.load(directory, states[0])
        self.reference.load(directory, states[1])

    def load_reference(self, directory, state):
        self.reference.load(directory, state)

    def close(self):
        self.reference.close()
        self.engine.close()
        self.leave()


def load(model, settings):
    return load_policy(
        model,
        dtype=getattr(torch, settings.dtype),
        attention=settings.attention,
        chunk=settings.head_chunk,
        activation_checkpointing=False,
    )


def run(policy, tensors, token_loss=None):
    return policy(
        tensors["token_ids_RS"],
        None,
        tensors["sources_T"],
        tensors["targets_T"],
        token_loss,
        tensors["temperature_T"],
    )


@pytest.fixture
def beside(ranks, tied):
    """Makes a policy and its reference on some ranks; those before them are closed."""
    made: list[Group] = []

    def make(*, world_size=1, model=tied, reference=None, **changes):
        if made:
            made.pop().all("close")
        settings = learner_settings(
            reference=ReferenceSettings(**{"model": model} | (reference or {})),
            optimizer=OptimizerSettings(lr=1.0, grad_clip=0.0),
            **changes,
        )
        group = Group(ranks(world_size), HostedReference, settings)
        made.append(group)
        group.all("make", model)
        return group

    yield make
    if made:
        made.pop().all("close")


def assert_same(ours, theirs, atol=0.0):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=atol, err_msg=name)


def distance(ours, theirs):
    return max(np.abs(ours[name] - theirs[name]).max() for name in ours)


def logprobs_of(model, parameters, seed):
    """Of a policy with these parameters, in plain torch and this process."""
    policy = load(model, learner_settings())
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            parameter.copy_(torch.from_numpy(parameters[name]))
        return run(policy, microbatch(seed))[1].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
@pytest.mark.parametrize("world_size", [1, 2])
def test_it_starts_as_the_policy_and_stays_while_that_trains(
    beside, untied, world_size, zero_stage
):
    made = beside(world_size=world_size, zero_stage=zero_stage, model=untied)
    started = made.parameters()
    logprobs_T = made.reference_logprobs(5)
    assert np.array_equal(logprobs_T, made.policy_logprobs(5))
    np.testing.assert_allclose(logprobs_T, logprobs_of(untied, started, 5), rtol=0, atol=1e-5)
    for _ in range(2):
        made.all("train")
    assert_same(made.parameters(), started)
    assert np.array_equal(made.reference_logprobs(5), logprobs_T)
    assert np.abs(made.policy_logprobs(5) - logprobs_T).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"zero_stage": 0},
        {"zero_stage": 2},
        {"zero_stage": 3},
        {"zero_stage": 3, "deepspeed": PERSISTENT},
        {"zero_stage": 3, "deepspeed": OFFLOADED},
    ],
    ids=["zero-0", "zero-2", "zero-3", "zero-3-persistent", "zero-3-offloaded"],
)
@pytest.mark.parametrize("world_size", [1, 2])
def test_a_moving_average_is_its_formula(beside, tied, world_size, changes):
    made = beside(world_size=world_size, reference={"ema_decay": 0.75}, **changes)
    started = expected = made.parameters()
    for _ in range(3):
        made.all("reference_logprobs", 5)  # what it gathers for this must not be used again
        weights = made.all("train")[0]
        expected = {name: 0.75 * expected[name] + 0.25 * weights[name] for name in weights}
    assert_same(made.parameters(), expected, atol=1e-6)
    assert distance(expected, started) > 0.01
    assert distance(expected, weights) > 0.01
    np.testing.assert_allclose(
        made.reference_logprobs(5), logprobs_of(tied, expected, 5), rtol=0, atol=2e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 3])
def test_it_moves_to_the_policy_every_few_updates(beside, tied, zero_stage):
    made = beside(
        world_size=2, zero_stage=zero_stage, reference={"sync_every": 2, "sync_alpha": 0.6}
    )
    started = made.parameters()
    made.all("train")
    assert_same(made.parameters(), started)
    second = made.all("train")[0]
    expected = {name: 0.6 * second[name] + 0.4 * started[name] for name in second}
    assert_same(made.parameters(), expected, atol=1e-6)
    made.all("train")
    assert_same(made.parameters(), expected, atol=1e-6)
    fourth = made.all("train")[0]
    expected = {name: 0.6 * fourth[name] + 0.4 * expected[name] for name in fourth}
    assert_same(made.parameters(), expected, atol=1e-6)
    np.testing.assert_allclose(
        made.reference_logprobs(5), logprobs_of(tied, expected, 5), rtol=0, atol=2e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 3])
def test_a_full_sync_is_the_policy_itself(beside, zero_stage):
    made = beside(world_size=2, zero_stage=zero_stage, reference={"sync_every": 1})
    assert_same(made.all("train")[0], made.parameters())
    assert np.array_equal(made.reference_logprobs(5), made.policy_logprobs(5))


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [2, 3])
def test_in_bfloat16_a_slow_average_still_moves(beside, zero_stage):
    made = beside(zero_stage=zero_stage, dtype="bfloat16", reference={"ema_decay": 0.999})
    name = "model.layers.1.mlp.up_proj.weight"
    start = made.parameters()[f"language_model.{name}"]
    weight = made.train(False)[f"language_model.{name}"]
    updates = 300
    for update in range(updates):
        made.follow(update + 1)
    kept = 0.999**updates
    expected = kept * start + (1 - kept) * weight
    master = made.masters()[name].reshape(expected.shape)
    np.testing.assert_allclose(master, expected, rtol=0, atol=1e-5)
    rounded = torch.from_numpy(master).bfloat16()
    assert np.array_equal(made.parameters()[f"language_model.{name}"], rounded.float().numpy())

    unkept = torch.from_numpy(start).bfloat16()
    for _ in range(updates):
        unkept.lerp_(torch.from_numpy(weight).bfloat16(), 1 - 0.999)
    gone = np.linalg.norm(expected - start)
    assert np.linalg.norm(rounded.float().numpy() - expected) < 0.2 * gone
    assert np.linalg.norm(unkept.float().numpy() - expected) > 0.5 * gone


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"zero_stage": 0}, {"zero_stage": 3}, {"zero_stage": 3, "dtype": "bfloat16"}],
    ids=["zero-0", "zero-3", "zero-3-bfloat16"],
)
def test_a_moving_reference_continues_bit_for_bit(beside, tmp_path, changes):
    def make():
        return beside(world_size=2, reference={"ema_decay": 0.9}, **changes)

    made = make()
    made.all("train")
    made.all("train")
    [states, _] = made.all("save", str(tmp_path))
    files = sorted(path.name for path in tmp_path.glob("reference-*"))
    assert files == ["reference-0.pt", "reference-1.pt"][: 1 + (changes["zero_stage"] == 3)]
    made.all("train")
    made.all("train")
    expected, masters = made.all("parameters"), made.all("masters")
    logprobs_T = made.reference_logprobs(5)

    made = make()
    made.all("reference_logprobs", 5)
    made.all("load", str(tmp_path), states)
    made.all("train")
    made.all("train")
    for ours, theirs in zip(made.all("parameters"), expected, strict=True):
        assert_same(ours, theirs)
    for ours, theirs in zip(made.all("masters"), masters, strict=True):
        assert_same(ours, theirs)
    assert np.array_equal(made.reference_logprobs(5), logprobs_T)


@pytest.mark.slow
def test_a_fixed_reference_is_not_written(beside, tmp_path):
    made = beside()
    state = made.save(str(tmp_path))[1]
    assert not list(tmp_path.glob("reference-*"))
    made.load_reference(str(tmp_path), state)


@pytest.mark.slow
def test_a_reference_that_now_moves_does_not_continue_a_fixed_one(beside, tmp_path):
    state = beside().save(str(tmp_path))[1]
    made = beside(reference={"ema_decay": 0.9})
    with pytest.raises(ValueError, match="saved with a fixed reference and this one is moving"):
        made.load_reference(str(tmp_path), state)
    with pytest.raises(FileNotFoundError):
        made.load_reference(str(tmp_path), {"moves": True})


@pytest.mark.slow
def test_a_reference_cannot_follow_another_model(beside, tied, untied):
    made = beside(model=tied, reference={"model": untied, "ema_decay": 0.9})
    with pytest.raises(ValueError, match=r"differ in 1 parameters, such as lm_head\.weight"):
        made.train()


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 3])
def test_with_adapters_it_is_the_policy_without_them(beside, zero_stage):
    made = beside(world_size=2, zero_stage=zero_stage, lora=LoraSettings(rank=4, alpha=8.0))
    assert made.kind() == "AdapterReference"
    logprobs_T = made.all("reference_logprobs", 5)[0]
    for _ in range(3):
        made.all("train")
    assert np.abs(made.all("policy_logprobs", 5)[0] - logprobs_T).max() > 0.1
    np.testing.assert_allclose(made.all("reference_logprobs", 5)[0], logprobs_T, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_with_adapters_another_model_may_be_the_reference(beside, tied, untied):
    made = beside(model=tied, reference={"model": untied}, lora=LoraSettings(rank=4, alpha=8.0))
    assert made.kind() == "Reference"
    assert np.abs(made.reference_logprobs(5) - made.policy_logprobs(5)).max() > 0.1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, r"learner\.reference=None"),
        (
            {"reference": {"ema_decay": 0.9}, "lora": LoraSettings()},
            r"learner\.reference moves and learner\.lora is set",
        ),
        (
            {
                "reference": {"sync_every": 4},
                "zero_stage": 3,
                "deepspeed": {"zero_optimization": {"zero_hpz_partition_size": 2}},
            },
            r"zero_hpz_partition_size=2 with a reference that moves",
        ),
    ],
    ids=["none", "adapters", "copies"],
)
def test_what_could_not_work_is_refused(tied, changes, reason):
    if "reference" in changes:
        changes = changes | {"reference": ReferenceSettings(model=tied, **changes["reference"])}
    settings = learner_settings(**changes)
    with pytest.raises(ValueError, match=reason):
        Reference(settings, device=CPU)


def test_the_reference_of_adapters_has_nothing_to_keep(tied, tmp_path):
    policy = load(tied, learner_settings())
    reference = AdapterReference(policy)
    reference.load(str(tmp_path), reference.save(str(tmp_path)))
    assert not list(tmp_path.iterdir())
    before = {name: p.clone() for name, p in policy.named_parameters()}
    reference.follow(policy, 1)
    assert all(torch.equal(p, before[name]) for name, p in policy.named_parameters())
