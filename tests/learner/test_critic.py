"""The critic on one and two ranks, against plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlvr.learner.critic import Critic, quarters
from rlvr.learner.report import combined
from rlvr.learner.settings import CriticSettings, OptimizerSettings
from rlvr.learner.value_model import load_value_model
from rlvr.metrics import describe
from tests.learner.hosted import CPU, Group, Hosted, learner_settings, microbatch

SEEDS = (0, 1, 2, 3)
WEIGHT = 0.01


class HostedCritic(Hosted):
    """Trains with plain gradient descent, whose steps are the gradients themselves."""

    def make(self) -> None:
        self.critic = Critic(
            self.settings,
            device=CPU,
            torch_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
        )

    def train(self, seeds):
        return self.critic.train(self.mine(seeds))

    def train_on(self, seeds, one_return):
        microbatches = self.mine(seeds)
        if self.rank == 0:
            microbatches[-1]["returns_T"][3] = one_return
        return self.critic.train(microbatches)

    def train_on_equal_returns(self, seeds):
        microbatches = self.mine(seeds)
        for tensors in microbatches:
            tensors["returns_T"].fill_(0.3)
        return self.critic.train(microbatches)

    def values(self, seed):
        values_T = self.critic.values(microbatch(seed))
        return values_T.dtype, values_T.requires_grad, values_T.numpy().copy()

    def parameters(self):
        return self.full(self.critic.model)

    def is_pretraining(self):
        return self.critic.is_pretraining

    def save(self, directory):
        return self.critic.save(directory)

    def load(self, directory, state):
        self.critic.load(directory, state)

    def close(self):
        self.critic.close()
        self.leave()


class HostedAdamCritic(HostedCritic):
    def make(self) -> None:
        self.critic = Critic(self.settings, device=CPU)


@pytest.fixture
def critic(ranks, tied):
    """Makes a critic on some ranks; the one before it is closed."""
    made: list[Group] = []

    def make(*, world_size=1, worker=HostedCritic, lr=0.5, grad_clip=0.0, changes=None, **critic):
        if made:
            made.pop().all("close")
        optimizer = OptimizerSettings(lr=lr, grad_clip=grad_clip)
        settings = learner_settings(
            critic=CriticSettings(model=tied, optimizer=optimizer, **critic), **changes or {}
        )
        made.append(Group(ranks(world_size), worker, settings))
        made[-1].all("make")
        return made[-1]

    yield make
    if made:
        made.pop().all("close")


class PlainCritic:
    """The same in plain torch, all micro-batches in one process."""

    def __init__(self, model: str, *, lr: float, clip: float | None = None) -> None:
        self.model = load_value_model(
            model, dtype=torch.float32, attention="sdpa", activation_checkpointing=False
        )
        self.lr, self.clip = lr, clip

    def values(self, seed):
        tensors = microbatch(seed)
        return self.model(tensors["token_ids_RS"], None, tensors["sources_T"])

    def update(self, seeds=SEEDS) -> float:
        """Returns the gradient's norm."""
        self.model.zero_grad()
        for seed in seeds:
            tensors, values_T = microbatch(seed), self.values(seed)
            for t in tensors["mask_T"].nonzero().flatten().tolist():
                target, old = tensors["returns_T"][t], tensors["values_T"][t]
                error = (values_T[t] - target) ** 2
                if self.clip is not None:
                    near = torch.clamp(values_T[t], old - self.clip, old + self.clip)
                    error = torch.maximum(error, (near - target) ** 2)
                (WEIGHT * error / 2).backward(retain_graph=True)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters()]).item()
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter -= self.lr * parameter.grad
        return norm

    def parameters(self):
        return {name: p.detach().numpy().copy() for name, p in self.model.named_parameters()}


def assert_same(ours, theirs, atol):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=atol, err_msg=name)


def explained(returns, values):
    return 1 - (returns - values).var() / returns.var()


def test_quarters_are_counted_within_each_sequence():
    sequence_T = torch.tensor([0] * 8 + [1] + [2] * 5 + [3] * 2)
    assert quarters(sequence_T).tolist() == [
        *(0, 0, 1, 1, 2, 2, 3, 3),
        0,
        *(0, 0, 1, 2, 3),
        *(0, 2),
    ]


def test_a_critic_without_settings_is_refused():
    with pytest.raises(ValueError, match=r"learner\.critic=None"):
        Critic(learner_settings(), device=CPU)


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
@pytest.mark.parametrize("world_size", [1, 2])
def test_updates_are_those_of_plain_torch(critic, tied, world_size, zero_stage):
    made = critic(world_size=world_size, changes={"zero_stage": zero_stage})
    dtype, requires_grad, values_T = made.values(7)
    assert (dtype, requires_grad) == (torch.float32, False)
    assert not values_T.any()

    plain = PlainCritic(tied, lr=0.5)
    started = plain.parameters()
    # With the head at 0 the first update moves the head alone.
    for _ in range(3):
        report = made.train(SEEDS)
        norm = plain.update()
        assert combined([report])["critic/grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert np.abs(plain.parameters()["trunk.norm.weight"] - started["trunk.norm.weight"]).max() > (
        1e-3
    )
    assert_same(made.parameters(), plain.parameters(), atol=2e-6)
    expected_T = plain.values(7).detach().numpy()
    np.testing.assert_allclose(made.values(7)[2], expected_T, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_values_are_clipped_around_those_of_the_steps_start(critic, tied):
    made = critic(world_size=2, value_clip=0.2)
    plain, free = PlainCritic(tied, lr=0.5, clip=0.2), PlainCritic(tied, lr=0.5)
    for _ in range(2):
        report = made.train(SEEDS)
        plain.update()
        free.update()
    assert 0 < combined([report])["critic/vf_clipfrac"] < 1
    assert_same(made.parameters(), plain.parameters(), atol=2e-6)
    gap = np.abs(plain.parameters()["head.weight"] - free.parameters()["head.weight"]).max()
    assert gap > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2])
def test_metrics_are_over_the_tokens_of_all_ranks(critic, tied, world_size):
    made, plain = critic(world_size=world_size), PlainCritic(tied, lr=0.5)
    made.train(SEEDS)
    plain.update()
    returns, values, places = [], [], []
    for seed in SEEDS:
        tensors = microbatch(seed)
        mask = tensors["mask_T"].numpy()
        returns.append(tensors["returns_T"].double().numpy()[mask])
        values.append(plain.values(seed).detach().double().numpy()[mask])
        # The masked token still takes its place.
        places.append(
            np.concatenate([np.arange(n) / n for n in np.bincount(tensors["sequence_T"].numpy())])[
                mask
            ]
        )
    returns, values, places = (np.concatenate(parts) for parts in (returns, values, places))
    first, last = places < 0.25, places >= 0.75

    reports = made.all("train", SEEDS)
    metrics = combined([reports[0]])
    assert all(report == reports[0] for report in reports)
    assert metrics == pytest.approx(
        {
            "critic/vf_loss": ((values - returns) ** 2).mean() / 2,
            "critic/vf_clipfrac": 0.0,
            "critic/vpred_mean": values.mean(),
            "critic/returns/mean": returns.mean(),
            "critic/vf_explained_var": explained(returns, values),
            "critic/vf_explained_var/first_quarter": explained(returns[first], values[first]),
            "critic/vf_explained_var/last_quarter": explained(returns[last], values[last]),
            "critic/grad_norm": plain.update(),
            "critic/skipped": 0.0,
            "critic/lr": 0.5,
        },
        rel=1e-4,
    )
    for name in metrics:
        assert describe(name) is not None, name


@pytest.mark.slow
def test_equal_returns_leave_no_variance_to_explain(critic):
    metrics = combined([critic().train_on_equal_returns(SEEDS)])
    assert not any("explained" in name for name in metrics)
    assert metrics["critic/returns/mean"] == pytest.approx(0.3)


@pytest.mark.slow
@pytest.mark.parametrize("one_return", [float("nan"), 3e19], ids=["gradient", "loss alone"])
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_an_update_that_is_not_finite_is_skipped_and_counted(critic, tied, zero_stage, one_return):
    made = critic(world_size=2, changes={"zero_stage": zero_stage}, only_steps=1)
    before = made.parameters()
    metrics = combined([made.train_on(SEEDS, one_return)])
    assert metrics["critic/skipped"] == 1
    assert "critic/grad_norm" not in metrics
    assert_same(made.parameters(), before, atol=0)
    assert made.is_pretraining()

    plain = PlainCritic(tied, lr=0.5)
    plain.update()
    assert combined([made.train(SEEDS)])["critic/skipped"] == 0
    assert_same(made.parameters(), plain.parameters(), atol=2e-6)


@pytest.mark.slow
def test_it_is_pretrained_for_its_first_updates(critic):
    made = critic(only_steps=2)
    seen = [made.is_pretraining()]
    for _ in range(3):
        made.train(SEEDS[:1])
        seen.append(made.is_pretraining())
    assert seen == [True, True, False, False]


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 3])
def test_a_critic_continues_bit_for_bit(critic, tmp_path, zero_stage):
    def make():
        return critic(
            world_size=2,
            worker=HostedAdamCritic,
            lr=0.01,
            changes={"zero_stage": zero_stage},
            only_steps=3,
        )

    made = make()
    made.train(SEEDS)
    made.train(SEEDS)
    [state, _] = made.all("save", str(tmp_path))
    made.train(SEEDS)
    expected, value_T = made.parameters(), made.values(7)[2]

    made = make()
    made.all("load", str(tmp_path), state)
    assert made.is_pretraining()
    made.train(SEEDS)
    assert not made.is_pretraining()
    assert_same(made.parameters(), expected, atol=0)
    assert np.array_equal(made.values(7)[2], value_T)


@pytest.mark.slow
def test_in_bfloat16_values_and_small_steps_are_kept_in_float32(critic):
    made = critic(worker=HostedAdamCritic, lr=1e-2, changes={"dtype": "bfloat16", "zero_stage": 2})
    errors = [combined([made.train(SEEDS)])["critic/vf_loss"] for _ in range(6)]
    assert errors[-1] < 0.9 * errors[0]
    dtype, _, values_T = made.values(7)
    assert dtype == torch.float32
    assert not np.array_equal(values_T, torch.from_numpy(values_T).bfloat16().float().numpy())
