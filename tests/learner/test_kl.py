"""Estimators of the divergence from a reference, and the terms made of them."""

from dataclasses import replace

import pytest
import torch

from rlvr.learner.objective import Controlled
from rlvr.learner.terms.kl import AdaptiveKl, Kl, adapted, kl
from rlvr.metrics import describe
from tests.learner.loss_cases import ADVANTAGES, LOGPROBS, SAMPLED, gradient, inputs, mean

REFERENCE = [-0.8, -1.0, -0.3, -1.5, -0.6, -1.0, -1.2]
VALUES = {
    "k1": [0.3, -0.2, 0.0, -0.5, -0.1, 0.1, 0.1],
    "abs": [0.3, 0.2, 0.0, 0.5, 0.1, 0.1, 0.1],
    "k2": [0.045, 0.02, 0.0, 0.125, 0.005, 0.005, 0.005],
    "k3": [
        0.04081822068,
        0.02140275816,
        0,
        0.1487212707,
        0.00517091808,
        0.00483741804,
        0.00483741804,
    ],
}
VALUES["k3+"] = VALUES["k3"]
SLOPES = {
    "k1": [1.0] * 7,
    "k2": VALUES["k1"],
    "k3": [
        0.2591817793,
        -0.2214027582,
        0,
        -0.6487212707,
        -0.1051709181,
        0.0951625820,
        0.0951625820,
    ],
    "k3+": VALUES["k1"],
}
LOGITS, REFERENCE_PROBABILITIES = [0.2, -0.4, 0.9], [0.5, 0.3, 0.2]
KL, KL_GRADIENT = 0.3225436266, [-0.2525925053, -0.1523629837, 0.4049554890]
TERMS = [
    Kl(coef=0.5),
    Kl(coef=0.5, estimator="k2"),
    Kl(coef=0.5, estimator="k3+"),
    Kl(coef=0.5, estimator="k1", unbiased=True),
    Kl(coef=0.5, estimator="k3", unbiased=True),
    AdaptiveKl(coef=0.5, target=0.1),
]
every_term = pytest.mark.parametrize("term", TERMS, ids=repr)


def with_reference(*, logprobs=LOGPROBS, sampled=SAMPLED, reference=REFERENCE, **others):
    one = inputs(logprobs, sampled, ADVANTAGES[: len(logprobs)], **others)
    return replace(one, reference_logprobs_T=torch.tensor(reference, dtype=one.logprobs_T.dtype))


@pytest.mark.parametrize("estimator", list(VALUES))
def test_estimates_by_hand(estimator):
    found = kl(torch.tensor(LOGPROBS).double(), torch.tensor(REFERENCE).double(), estimator)
    assert found.tolist() == pytest.approx(VALUES[estimator], abs=1e-7)


@pytest.mark.parametrize("estimator", list(SLOPES))
def test_gradients_by_hand(estimator):
    logprobs_T = torch.tensor(LOGPROBS, dtype=torch.float64, requires_grad=True)
    kl(logprobs_T, torch.tensor(REFERENCE, dtype=torch.float64), estimator).sum().backward()
    assert logprobs_T.grad.tolist() == pytest.approx(SLOPES[estimator], abs=1e-9)


def expectation(estimator, *, sampler=None, unbiased=False):
    """Of the term over every token of a vocabulary of three, and its gradient on the logits."""
    logits = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    logprobs = logits.log_softmax(-1)
    reference = torch.tensor(REFERENCE_PROBABILITIES, dtype=torch.float64).log()
    drawn = (
        logprobs.detach() if sampler is None else torch.tensor(sampler, dtype=torch.float64).log()
    )
    one = inputs([0.0] * 3, [0.0] * 3, [0.0] * 3)
    one = replace(
        one,
        logprobs_T=logprobs,
        sampled_logprobs_T=drawn,
        reference_logprobs_T=reference,
        weights_T=drawn.exp(),
    )
    coef = 0.0 if estimator == "k1" and not unbiased else 1.0
    loss = Kl(coef=coef, estimator=estimator, unbiased=unbiased)(one).loss
    loss.backward()
    return loss.item(), logits.grad.tolist()


@pytest.mark.parametrize("estimator", ["k2", "k3+"])
def test_on_policy_k2_has_the_exact_gradient(estimator):
    value, slopes = expectation(estimator)
    assert value == pytest.approx({"k2": 0.3860735344, "k3+": KL}[estimator], abs=1e-9)
    assert slopes == pytest.approx(KL_GRADIENT, abs=1e-9)


def test_on_policy_k3_has_the_gradient_of_the_other_direction():
    value, slopes = expectation("k3")
    assert value == pytest.approx(KL, abs=1e-9)
    assert slopes == pytest.approx([-0.2193033154, -0.1459503933, 0.3652537086], abs=1e-9)


def test_on_policy_k1_pulls_nowhere():
    logits = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    logprobs = logits.log_softmax(-1)
    reference = torch.tensor(REFERENCE_PROBABILITIES, dtype=torch.float64).log()
    (kl(logprobs, reference, "k1") * logprobs.detach().exp()).sum().backward()
    assert logits.grad.tolist() == pytest.approx([0.0] * 3, abs=1e-12)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "k3+"])
@pytest.mark.parametrize("sampler", [None, [0.5, 0.2, 0.3]])
def test_unbiased_has_the_exact_gradient_whoever_sampled(estimator, sampler):
    value, slopes = expectation(estimator, sampler=sampler, unbiased=True)
    assert slopes == pytest.approx(KL_GRADIENT, abs=1e-9)
    if estimator != "k2":
        assert value == pytest.approx(KL, abs=1e-9)


def test_the_term_is_the_weighted_sum_times_its_coefficient():
    output, slopes = gradient(Kl(coef=0.5), with_reference())
    assert output.loss.item() == pytest.approx(0.5 * 0.0322554291, abs=1e-9)
    assert slopes == pytest.approx([0.5 * slope / 7 for slope in SLOPES["k3"]], abs=1e-9)
    assert mean(output, "actor/kl_loss") == pytest.approx(0.0322554291, rel=1e-6)
    assert mean(output, "actor/kl_coef") == pytest.approx(0.5)


def test_the_importance_ratio_is_that_to_the_sampler():
    one = with_reference(logprobs=[-0.5], sampled=[-0.7], reference=[-0.8])
    one = replace(one, proximal_logprobs_T=torch.tensor([-9.0]))
    output, slopes = gradient(Kl(coef=1.0, estimator="k3+", unbiased=True), one)
    ratio = 1.2214027582
    assert output.loss.item() == pytest.approx(ratio * 0.04081822068, abs=1e-9)
    assert slopes == pytest.approx([ratio * 0.3], abs=1e-9)


@every_term
def test_shares_of_any_cut_add_up(term):
    whole, slopes = gradient(term, with_reference())
    loss, parts = 0.0, []
    for cut in (slice(0, 1), slice(1, 5), slice(5, 7)):
        part = with_reference(
            logprobs=LOGPROBS[cut],
            sampled=SAMPLED[cut],
            reference=REFERENCE[cut],
            weights=[1 / 7] * len(LOGPROBS[cut]),
        )
        output, part_slopes = gradient(term, part)
        loss += output.loss.item()
        parts += part_slopes
    assert loss == pytest.approx(whole.loss.item())
    assert parts == pytest.approx(slopes)


@every_term
@pytest.mark.parametrize("field", ["logprobs", "sampled_logprobs", "reference_logprobs", "weights"])
def test_what_stands_outside_the_mask_reaches_nothing(term, field):
    mask = [True] * 6 + [False]
    one = with_reference(mask=mask, weights=[1 / 6] * 7)
    with torch.no_grad():
        getattr(one, f"{field}_T")[6] = float("nan")
    output, slopes = gradient(term, one)
    clean = with_reference(
        logprobs=LOGPROBS[:6], sampled=SAMPLED[:6], reference=REFERENCE[:6], weights=[1 / 6] * 6
    )
    expected, expected_slopes = gradient(term, clean)
    assert output.loss.item() == pytest.approx(expected.loss.item())
    assert slopes == pytest.approx([*expected_slopes, 0.0])
    assert mean(output, "actor/kl_loss") == pytest.approx(mean(expected, "actor/kl_loss"))


@every_term
def test_log_probs_of_any_size_stay_finite(term):
    one = with_reference(
        logprobs=[-1e4, 0.0], sampled=[0.0, -1e4], reference=[0.0, -1e4], dtype=torch.float32
    )
    output, slopes = gradient(term, one)
    assert output.loss.isfinite()
    assert torch.tensor(slopes).isfinite().all()


def test_k3_is_held_to_ten():
    assert kl(torch.tensor([-4.0]), torch.tensor([0.0]), "k3").item() == 10.0


@every_term
def test_it_needs_a_reference(term):
    assert term.needs == {"reference"}
    with pytest.raises(ValueError, match=r"reference_logprobs_T=None.*give"):
        term(inputs(LOGPROBS, SAMPLED, ADVANTAGES))


@every_term
def test_every_metric_is_described(term):
    assert [name for name in term(with_reference()).metrics if describe(name) is None] == []


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (0.1, 0.2),  # on target
        (0.11, 0.2 * 1.01),  # a tenth above: a tenth of steps / horizon more
        (0.2, 0.2 * 1.02),  # twice the target counts as a fifth above
        (5.0, 0.2 * 1.02),
        (0.0, 0.2 * 0.98),
    ],
)
def test_the_coefficient_follows_the_divergence(measured, expected):
    moved = adapted(0.2, measured, target=0.1, horizon=1000, steps=100)
    assert moved == pytest.approx(expected, abs=1e-12)
    term = AdaptiveKl(coef=0.2, target=0.1, horizon=1000, steps=100)
    term.observe({"actor/kl_loss": measured, "actor/entropy": 3.0})
    assert term.state_dict() == {"coef": pytest.approx(expected, abs=1e-12)}


def test_the_adapted_coefficient_is_the_one_applied():
    term = AdaptiveKl(coef=0.2, target=0.01, horizon=10, steps=1)
    assert isinstance(term, Controlled)
    before = term(with_reference()).loss.item()
    term.observe({"actor/kl_loss": 1.0})
    output = term(with_reference())
    assert output.loss.item() == pytest.approx(before * 1.02)
    assert mean(output, "actor/kl_coef") == pytest.approx(0.204)


def test_a_skipped_update_moves_nothing():
    term = AdaptiveKl(coef=0.2, target=0.1)
    term.observe({"actor/kl_loss": float("nan")})
    assert term.state_dict() == {"coef": 0.2}


def test_a_resumed_term_goes_on_where_it_was():
    term = AdaptiveKl(coef=0.2, target=0.1, horizon=10)
    term.observe({"actor/kl_loss": 0.5})
    resumed = AdaptiveKl(coef=0.2, target=0.1, horizon=10)
    resumed.load_state_dict(term.state_dict())
    assert resumed == term
    assert resumed != AdaptiveKl(coef=0.2, target=0.1, horizon=10)


def test_an_unknown_estimator_is_refused():
    with pytest.raises(ValueError, match="estimator='k4': take one of"):
        kl(torch.zeros(1), torch.zeros(1), "k4")


def test_k1_is_refused_where_it_would_hold_nothing():
    with pytest.raises(ValueError, match=r"estimator='k1'.*zero.*take k2"):
        Kl(coef=0.1, estimator="k1")
    Kl(coef=0.0, estimator="k1")
    Kl(coef=0.1, estimator="k1", unbiased=True)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Kl, {"coef": -0.1}),
        (Kl, {"coef": float("nan")}),
        (Kl, {"coef": float("inf")}),
        (AdaptiveKl, {"coef": 0.0}),
        (AdaptiveKl, {"target": 0.0}),
        (AdaptiveKl, {"target": float("nan")}),
        (AdaptiveKl, {"horizon": -1.0}),
        (AdaptiveKl, {"steps": 0.0}),
        (AdaptiveKl, {"steps": 1e6}),
    ],
)
def test_settings_that_mean_nothing_are_refused(kind, settings):
    name, value = next(iter(settings.items()))
    given = {"coef": 0.1} if kind is Kl else {"coef": 0.1, "target": 0.1}
    with pytest.raises(ValueError, match=f"{name}={value}.*take"):
        kind(**{**given, **settings})
