"""No objective notices how a batch is cut up: micro-batches, packing, ranks, ZeRO, chunks, order.

Each is compared with plain torch in float64, which has the whole batch and all logits at once.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rlvr.learner import corrections, diagnostics, losses, terms
from rlvr.learner.group import LearnerGroup
from rlvr.learner.loss import LossInputs, Mean
from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.objective import Objective
from rlvr.metrics import describe
from rlvr.types import TrainBatch
from tests.learner.presets import MAX_TOKENS, PRESETS, Preset, samples
from tests.learner.ranks import Descent, Learner, settings

TOLERANCE = 5e-6
"""Of a parameter, in units of the largest slope; float32 keeps seven digits of either."""
BASE = {"tokens_per_microbatch": 10_000, "head_chunk": 1024}


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A way to cut a batch up."""

    world_size: int = 1
    starts: dict[str, object] = field(default_factory=dict)
    """What a rank is started with."""
    divides: dict[str, object] = field(default_factory=dict)
    """What says how a batch is divided."""
    shuffled: bool = False


CUTS = {
    "all at once": Cut(),
    "small micro-batches": Cut(divides={"tokens_per_microbatch": 48}),
    "packed": Cut(divides={"tokens_per_microbatch": 10_000, "layout": "packed"}),
    "packed micro-batches": Cut(divides={"tokens_per_microbatch": 64, "layout": "packed"}),
    "shuffled": Cut(divides={"tokens_per_microbatch": 64}, shuffled=True),
    "chunks of 1": Cut(starts={"head_chunk": 1}, divides={"tokens_per_microbatch": 64}),
    **{
        f"2 ranks, ZeRO {stage}": Cut(
            world_size=2, starts={"zero_stage": stage}, divides={"tokens_per_microbatch": 64}
        )
        for stage in range(4)
    },
}


SHARES = (
    *("frac", "clipfrac_lower", "floored", "capped", "masked_fraction", "positive_share"),
    *("accuracies", "oob_ratio", "fraction_high", "fraction_low"),
)
"""How the names end of metrics that say how many tokens went one way and not the other."""


class Renewed(Descent):
    """Takes on one objective after the other: starting a rank takes a hundred times as long."""

    def renew(self, objective):
        self._objective = objective


class Ranks:
    """A started learner for each kind of rank, one at a time."""

    def __init__(self, ranks, model, directory) -> None:
        self.model = model
        self._ranks, self._directory = ranks, directory
        self._key = None
        self._learner = None

    def step(self, preset: Preset, cut: Cut, batch: TrainBatch):
        """Metrics and parameters after one update from the model's weights."""
        learner, saved = self._started(cut)
        told = {
            "loss": preset.make(),
            "aggregation": preset.aggregation,
            "max_tokens": MAX_TOKENS,
        }
        learner.group = LearnerGroup(
            learner.ranks, settings=settings(**BASE | cut.starts | cut.divides | told)
        )
        # A checkpoint is for the objective that it was saved with.
        learner.on_all("renew", Objective(loss=Clipped()))
        learner.load(saved)
        learner.on_all("renew", preset.make())
        metrics = learner.step(batch)
        return metrics, learner.parameters()

    def close(self) -> None:
        if self._learner is not None:
            self._learner.close()
        self._learner = None

    def _started(self, cut: Cut) -> tuple[Learner, str]:
        key = (("world_size", cut.world_size), *sorted(cut.starts.items()))
        saved = str(self._directory / "-".join(f"{name}={value}" for name, value in key))
        if key != self._key:
            self.close()
            told = settings(lr=1.0, **BASE | cut.starts)
            self._learner = Learner(self._ranks(cut.world_size), self.model, Renewed, told)
            self._learner.save(saved)
            self._key = key
        return self._learner, saved


@pytest.fixture(scope="module")
def started(ranks, tied, tmp_path_factory):
    made = Ranks(ranks, tied, tmp_path_factory.mktemp("start"))
    yield made
    made.close()


@dataclass(frozen=True, kw_only=True)
class Plain:
    loss: float
    norm: float
    metrics: dict[str, float]
    """But for those of nothing."""
    parameters: dict[str, np.ndarray]
    largest_slope: float


def float32(values) -> torch.Tensor:
    """What a rank is sent, exactly."""
    return torch.tensor(values, dtype=torch.float32).double()


def joined(parts) -> torch.Tensor | None:
    parts = list(parts)
    return None if any(part is None for part in parts) else torch.cat([float32(p) for p in parts])


def weights(counted: list[int], lengths: list[int], aggregation: str) -> torch.Tensor:
    """Of each token, in a mean over the samples that are ``counted``; 0 for the others."""
    tokens = sum(lengths[b] for b in counted)
    of_sample = [0.0] * len(lengths)
    for b in counted:
        of_sample[b] = {
            "token-mean": 1 / tokens,
            "seq-mean-token-mean": 1 / (len(counted) * lengths[b]),
            "seq-mean-token-sum": 1 / len(counted),
            "seq-mean-token-sum-norm": 1 / (len(counted) * MAX_TOKENS),
            "token-sum": 1.0,
        }[aggregation]
    return float32(of_sample).repeat_interleave(torch.tensor(lengths))


def plain_inputs(policy, batch: TrainBatch, aggregation: str) -> LossInputs:
    there = batch.samples
    lengths = [len(sample.rollout.completion_ids_T) for sample in there]
    logprobs, entropies = [], []
    for sample, tokens in zip(there, lengths, strict=True):
        ids = torch.tensor([sample.rollout.prompt_ids + sample.rollout.completion_ids_T])
        logits = policy(input_ids=ids).logits[0, -tokens - 1 : -1]
        log_p = (logits / float32(sample.rollout.temperature)).log_softmax(-1)
        logprobs.append(log_p.gather(1, ids[0, -tokens:, None])[:, 0])
        entropies.append(-(log_p.exp() * log_p).sum(-1))
    advantages = [
        s.token_advantages_T or [s.advantage] * n for s, n in zip(there, lengths, strict=True)
    ]
    lags = [batch.version - version for s in there for version in s.rollout.versions_T]
    return LossInputs(
        logprobs_T=torch.cat(logprobs),
        entropy_T=torch.cat(entropies),
        sampled_logprobs_T=joined(s.rollout.logprobs_T for s in there),
        advantages_T=joined(advantages),
        weights_T=weights(list(range(len(there))), lengths, aggregation),
        mask_T=torch.tensor([s.trains for s in there]).repeat_interleave(torch.tensor(lengths)),
        sequence_T=torch.arange(len(there)).repeat_interleave(torch.tensor(lengths)),
        proximal_logprobs_T=joined(s.scores and s.scores.logprobs_T for s in there),
        reference_logprobs_T=joined(s.scores and s.scores.reference_logprobs_T for s in there),
        correct_weights_T=weights(
            [b for b, s in enumerate(there) if s.correct], lengths, aggregation
        ),
        lag_T=torch.tensor(lags),
    )


def mismatch(inputs: LossInputs) -> dict[str, Mean]:
    fresh_T = inputs.mask_T & (inputs.lag_T == 0)
    apart_T = (inputs.logprobs_T.detach() - inputs.sampled_logprobs_T)[fresh_T]
    count = fresh_T.sum()
    k3_T = torch.expm1(apart_T) - apart_T
    return {
        "mismatch/logprob_abs_mean": Mean(apart_T.abs().sum(), count),
        "mismatch/k3": Mean(k3_T.sum(), count),
        "mismatch/logprob_abs_max": Mean(apart_T.abs().max() if count else count, count.sign()),
    }


def plain_update(preset: Preset, batch: TrainBatch, model: str) -> Plain:
    """One step of gradient descent at learning rate 1 in float64, on the model's own logits."""
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).double()
    inputs = plain_inputs(policy, batch, preset.aggregation)
    output = preset.make()(inputs)
    output.loss.backward()
    measured, maxima = diagnostics.measure(inputs)
    means = measured | output.metrics | mismatch(inputs)
    numbers = {n: (m.total / m.count).item() for n, m in means.items() if m.count}
    parameters = dict(policy.named_parameters())
    slopes = [parameter.grad for parameter in parameters.values()]
    return Plain(
        loss=output.loss.item(),
        norm=torch.nn.utils.get_total_norm(slopes).item(),
        metrics=numbers | diagnostics.derived(numbers) | {n: m.item() for n, m in maxima.items()},
        parameters={n: (p - p.grad).detach().numpy() for n, p in parameters.items()},
        largest_slope=max(slope.abs().max().item() for slope in slopes),
    )


@cache
def expected(name: str, model: str, *, alone: bool = False) -> Plain:
    preset = PRESETS[name]
    batch = samples(preset, model)
    return plain_update(preset, first(batch, preset) if alone else batch, model)


def first(batch: TrainBatch, preset: Preset) -> TrainBatch:
    """One sample, or one pair."""
    return replace(batch, samples=batch.samples[: 2 if preset.credit == "pairs" else 1])


OWN = {"actor/pg_loss", "actor/grad_norm", "actor/lr", "actor/skipped"}
"""Metrics of a rank, beside those of its objective."""


def assert_is(metrics, parameters, plain: Plain) -> None:
    assert metrics["actor/skipped"] == 0
    assert metrics["actor/pg_loss"] == pytest.approx(plain.loss, rel=2e-5, abs=2e-6)
    assert metrics["actor/grad_norm"] == pytest.approx(plain.norm, rel=1e-4)
    for name, value in plain.metrics.items():
        assert metrics[name] == pytest.approx(value, rel=1e-4, abs=2e-6), name
    named = {name for name in metrics if name.startswith(("actor/", "rollout_corr/", "mismatch/"))}
    assert named == plain.metrics.keys() | OWN
    for name, value in metrics.items():
        assert np.isfinite(value), name
        assert describe(name)
    assert parameters.keys() == plain.parameters.keys()
    for name, ours in parameters.items():
        tolerance = TOLERANCE * max(1.0, plain.largest_slope)
        np.testing.assert_allclose(
            ours, plain.parameters[name], rtol=0, atol=tolerance, err_msg=name
        )


def shuffled(batch: TrainBatch, *, together: int) -> TrainBatch:
    """In another order; so many neighbours as ``together`` says stay in theirs."""
    there = batch.samples
    units = [there[first : first + together] for first in range(0, len(there), together)]
    order = np.random.default_rng(1).permutation(len(units))
    return replace(batch, samples=tuple(sample for unit in order for sample in units[unit]))


def plugins(package) -> set[str]:
    """The losses, terms or corrections that a package has."""
    found: set[str] = set()
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        members = inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        found |= {
            name
            for name, member in members
            if member.__module__ == module.name and is_dataclass(member) and callable(member)
            if "__call__" in vars(member)
        }
    return found


def test_every_loss_term_and_correction_has_a_preset():
    objectives = [preset.make() for preset in PRESETS.values()]
    in_terms = {type(term).__name__ for one in objectives for term in one.terms}
    assert {type(one.loss).__name__ for one in objectives} == plugins(losses)
    # A loss may be a term as well.
    assert in_terms - plugins(losses) == plugins(terms)
    assert {type(c).__name__ for one in objectives for c in one.corrections} == plugins(corrections)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("cut", CUTS)
def test_an_update_is_that_of_plain_torch_however_the_batch_is_cut(started, cut, name):
    preset, how = PRESETS[name], CUTS[cut]
    batch = samples(preset, started.model)
    if how.shuffled:
        batch = shuffled(batch, together=2 if preset.credit == "pairs" else 1)
    metrics, parameters = started.step(preset, how, batch)
    assert_is(metrics, parameters, expected(name, started.model))


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("cut", ["2 ranks, ZeRO 0", "2 ranks, ZeRO 3"])
def test_what_an_idle_rank_does_meanwhile_is_in_no_number(started, cut, name):
    preset = PRESETS[name]
    batch = first(samples(preset, started.model), preset)
    metrics, parameters = started.step(preset, CUTS[cut], batch)
    assert metrics["perf/microbatches"] == 2
    assert_is(metrics, parameters, expected(name, started.model, alone=True))


@pytest.mark.slow
def test_the_samples_take_every_branch_of_the_objectives(tied):
    """Else the others prove little: a clip that is never reached is invariant to anything."""
    taken: dict[str, bool] = {}
    for name in PRESETS:
        for metric, share in expected(name, tied).metrics.items():
            if metric.endswith(SHARES):
                taken[metric] = taken.get(metric, False) or 0 < share < 1
    assert len(taken) > 15
    assert [metric for metric, is_taken in taken.items() if not is_taken] == []


def with_masked_tokens(inputs: LossInputs) -> LossInputs:
    """Each third token a second time, masked, where nothing is known."""
    times_T = torch.ones_like(inputs.sequence_T)
    times_T[::3] = 2
    is_copy_T = torch.cat([torch.arange(int(n)) for n in times_T]) > 0
    is_unknown_T = is_copy_T | ~inputs.mask_T.repeat_interleave(times_T)

    def spread(values_T):
        values_T = values_T.detach().repeat_interleave(times_T)
        if values_T.is_floating_point():
            values_T[is_unknown_T] = torch.nan
        return values_T

    names = [f.name for f in fields(inputs) if getattr(inputs, f.name) is not None]
    spread_T = {name: spread(getattr(inputs, name)) for name in names}
    return LossInputs(**spread_T | {"mask_T": spread_T["mask_T"] & ~is_copy_T})


def slopes(preset: Preset, inputs: LossInputs):
    """Loss, its slopes along log-probs and entropies, and metrics."""
    logprobs_T, entropy_T = (
        values_T.detach().requires_grad_() for values_T in (inputs.logprobs_T, inputs.entropy_T)
    )
    output = preset.make()(replace(inputs, logprobs_T=logprobs_T, entropy_T=entropy_T))
    along = torch.autograd.grad(
        output.loss, (logprobs_T, entropy_T), allow_unused=True, materialize_grads=True
    )
    metrics = {
        name: (mean.total.item(), mean.count.item()) for name, mean in output.metrics.items()
    }
    return output.loss.item(), along, metrics


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_nothing_comes_out_of_masked_tokens(tied, name):
    preset = PRESETS[name]
    policy = AutoModelForCausalLM.from_pretrained(tied, dtype=torch.float32).double()
    plain = plain_inputs(policy, samples(preset, tied), preset.aggregation)
    padded = with_masked_tokens(plain)
    assert (~padded.mask_T).sum() > 20
    loss, along, metrics = slopes(preset, plain)
    padded_loss, padded_along, padded_metrics = slopes(preset, padded)
    assert padded_loss == pytest.approx(loss, rel=1e-12)
    assert any(slope_T.any() for slope_T in along)
    for slope_T, padded_T in zip(along, padded_along, strict=True):
        torch.testing.assert_close(
            padded_T[padded.mask_T], slope_T[plain.mask_T], rtol=1e-12, atol=1e-15
        )
        assert not slope_T[~plain.mask_T].any()
        assert not padded_T[~padded.mask_T].any()
    assert padded_metrics.keys() == metrics.keys()
    for metric, pair in metrics.items():
        assert padded_metrics[metric] == pytest.approx(pair, rel=1e-6), metric
