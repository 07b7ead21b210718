"""What the loss pays for entropy, and the temperature that gives it."""

import math
from dataclasses import replace

import pytest
import torch

from rlvr.learner.objective import Controlled
from rlvr.learner.temperature import temperature_adjusted_entropy, temperature_for_entropy
from rlvr.learner.terms.entropy import (
    AdaptiveEntropy,
    EntropyBonus,
    TargetEntropy,
    adapted,
    ter,
)
from rlvr.metrics import describe
from tests.learner.loss_cases import inputs, mean

LOGITS = [[2.0, 1.0, 0.0, -1.0], [0.5, 0.5, 0.5, 0.5]]
TERMS = [EntropyBonus, TargetEntropy, AdaptiveEntropy]


def below_target(kind):
    """A term of this kind that pays for entropy."""
    if kind is EntropyBonus:
        return EntropyBonus(coef=0.01)
    term = kind(target=0.9)
    term.observe({"actor/entropy": 0.4})
    return term


def of_entropies(entropies, *, mask=None, weights=None):
    zeros = [0.0] * len(entropies)
    one = inputs(zeros, zeros, zeros, mask=mask, weights=weights)
    entropy_T = torch.tensor(entropies, dtype=torch.float64, requires_grad=True)
    return replace(one, entropy_T=entropy_T)


def slopes(term, one):
    term(one).loss.backward()
    return one.entropy_T.grad.tolist()


def test_a_bonus_is_minus_the_weighted_entropy():
    one = of_entropies([0.2, 0.6])
    output = EntropyBonus(coef=0.001)(one)
    assert output.loss.item() == pytest.approx(-0.0004, abs=1e-12)
    assert mean(output, "actor/entropy") == pytest.approx(0.4)
    assert mean(output, "actor/entropy_coef") == pytest.approx(0.001)
    assert slopes(EntropyBonus(coef=0.001), one) == pytest.approx([-0.0005, -0.0005])


def test_ter_by_hand():
    entropy = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    loss = ter(entropy, target=0.55, coef=0.001)
    loss.backward()
    assert loss.item() == pytest.approx(0.00015, abs=1e-12)
    assert entropy.grad.item() == pytest.approx(-0.001, abs=1e-12)
    assert ter(torch.tensor(0.75).double(), target=0.55, coef=0.001).item() == pytest.approx(2e-4)


@pytest.mark.parametrize(("before", "side"), [(0.3, -1), (0.55, 0), (0.8, 1)])
def test_the_target_is_approached_from_the_side_of_the_last_update(before, side):
    term = TargetEntropy(target=0.55, coef=0.001)
    term.observe({"actor/entropy": before})
    one = of_entropies([0.2, 0.6])
    assert term(one).loss.item() == pytest.approx(side * 0.001 * (0.4 - 0.55), abs=1e-12)
    assert slopes(term, one) == pytest.approx([side * 0.0005] * 2, abs=1e-12)


def test_shares_of_a_target_add_up_to_ter():
    entropies, weights = [0.2, 0.6, 0.5], [1 / 3] * 3
    term = TargetEntropy()
    term.observe({"actor/entropy": 0.4})
    parts = [of_entropies(entropies[cut], weights=weights[cut]) for cut in (slice(1), slice(1, 3))]
    total = sum(term(part).loss.item() for part in parts)
    entropy = torch.tensor(entropies, dtype=torch.float64).mean()
    assert total == pytest.approx(ter(entropy, 0.55, 0.001).item(), abs=1e-12)


@pytest.mark.parametrize("term", [TargetEntropy(), AdaptiveEntropy(initial=0.5)], ids=repr)
def test_nothing_is_paid_before_anything_was_measured(term):
    assert slopes(term, of_entropies([0.01, 0.02])) == [0.0, 0.0]


def test_the_adaptive_coefficient_by_hand():
    term = AdaptiveEntropy(target=0.2, delta=0.005, high=0.01)
    found = []
    for entropy in (0.1, 0.2, 0.15, 0.3, 0.19, 0.5, 0.5, 0.5):
        term.observe({"actor/entropy": entropy})
        applied = mean(term(of_entropies([0.4])), "actor/entropy_coef")
        found.append((round(term.state_dict()["coef"], 9), round(applied, 7)))
    assert found == [
        (0.005, 0.005),
        (0.01, 0.01),  # at the target is not above it
        (0.01, 0.01),  # at its upper bound
        (0.005, 0.0),  # above the target: less of it, and not applied
        (0.01, 0.01),
        (0.005, 0.0),
        (0.0, 0.0),
        (0.0, 0.0),  # at its lower bound
    ]


@pytest.mark.parametrize(("entropy", "coef"), [(0.1, 0.205), (0.2, 0.205), (0.21, 0.195)])
def test_one_step_of_the_adaptive_coefficient(entropy, coef):
    moved = adapted(0.2, entropy, target=0.2, delta=0.005, low=0.0, high=1.0)
    assert moved == pytest.approx(coef)


@pytest.mark.parametrize("kind", [TargetEntropy, AdaptiveEntropy])
def test_a_resumed_term_goes_on_where_it_was(kind):
    term, resumed = kind(), kind()
    assert isinstance(term, Controlled)
    for entropy in (0.9, 0.1, 0.15):
        term.observe({"actor/entropy": entropy})
    resumed.load_state_dict(term.state_dict())
    assert resumed == term != kind()


@pytest.mark.parametrize("kind", [TargetEntropy, AdaptiveEntropy])
def test_a_skipped_update_moves_nothing(kind):
    term = kind()
    term.observe({"actor/entropy": float("nan")})
    assert term == kind()


@pytest.mark.parametrize("kind", TERMS)
def test_what_stands_outside_the_mask_reaches_nothing(kind):
    term = below_target(kind)
    one = of_entropies(
        [0.2, float("nan"), 0.6], mask=[True, False, True], weights=[0.5, float("nan"), 0.5]
    )
    clean = of_entropies([0.2, 0.6])
    assert term(one).loss.item() == pytest.approx(term(clean).loss.item())
    assert term(one).loss.item() != 0
    found = slopes(term, one)
    assert found == pytest.approx([slopes(term, clean)[0], 0.0, found[2]])
    assert mean(term(one), "actor/entropy") == pytest.approx(0.4)


@pytest.mark.parametrize("kind", TERMS)
def test_every_metric_is_described(kind):
    output = below_target(kind)(of_entropies([0.4]))
    assert [name for name in output.metrics if describe(name) is None] == []


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (EntropyBonus, {"coef": -0.001}),
        (EntropyBonus, {"coef": float("nan")}),
        (TargetEntropy, {"coef": -0.001}),
        (TargetEntropy, {"target": -0.1}),
        (TargetEntropy, {"target": float("nan")}),
        (AdaptiveEntropy, {"target": float("nan")}),
        (AdaptiveEntropy, {"delta": 0.0}),
        (AdaptiveEntropy, {"delta": float("nan")}),
        (AdaptiveEntropy, {"low": -0.1}),
        (AdaptiveEntropy, {"initial": 2.0}),
        (AdaptiveEntropy, {"high": float("nan")}),
    ],
)
def test_settings_that_mean_nothing_are_refused(kind, settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(ValueError, match=f"{name}={value}.*take"):
        kind(**settings)


def test_the_entropy_at_a_temperature_by_hand():
    found = temperature_adjusted_entropy(torch.tensor(LOGITS, dtype=torch.float64), 2.0)
    odds = [math.exp(value / 2) for value in LOGITS[0]]
    shares = [value / sum(odds) for value in odds]
    by_hand = -sum(share * math.log(share) for share in shares)
    assert found.tolist() == pytest.approx([by_hand, math.log(4)], abs=1e-12)


def test_a_token_that_is_ruled_out_adds_no_entropy():
    found = temperature_adjusted_entropy(torch.tensor([1.0, 1.0, -math.inf]).double(), 0.7)
    assert found.item() == pytest.approx(math.log(2), abs=1e-12)


@pytest.mark.parametrize("temperature", [0.05, 0.6, 1.0, 7.0])
def test_the_temperature_for_an_entropy_is_found_again(temperature):
    logits = torch.tensor([[3.0, 1.0, 0.2, -1.0], [0.1, 0.3, 0.0, 2.0]])
    target = temperature_adjusted_entropy(logits.double(), temperature).mean().item()
    assert temperature_for_entropy(logits, target) == pytest.approx(temperature, rel=1e-7)


@pytest.mark.parametrize("target", [-0.1, 1.5, float("nan")])
def test_an_entropy_that_no_temperature_gives_is_refused(target):
    with pytest.raises(ValueError, match=f"target={target}.*take"):
        temperature_for_entropy(torch.tensor(LOGITS[0]), target)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_means_nothing_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature={temperature}.*take"):
        temperature_adjusted_entropy(torch.tensor(LOGITS), temperature)


def test_bounds_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"low=2.0, high=1.0: take"):
        temperature_for_entropy(torch.tensor(LOGITS), 0.3, low=2.0, high=1.0)
