"""A loss, what corrects it, and what stands beside it."""

import math
from dataclasses import dataclass, field, replace

import pytest
import torch

from rlvr.learner.corrections.icepop import TokenMask
from rlvr.learner.corrections.sequence_filter import GeometricMask, SeqMaskTis
from rlvr.learner.corrections.truncated import SequenceTis, TokenTis
from rlvr.learner.loss import LossOutput, masked_mean
from rlvr.learner.losses.cispo import Cispo, TwoSidedCispo
from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.losses.gmpo import Gmpo
from rlvr.learner.losses.gspo import Gspo
from rlvr.learner.losses.nft import Nft
from rlvr.learner.losses.nll import PositiveNll
from rlvr.learner.losses.reinforce import Reinforce
from rlvr.learner.losses.sapo import Sapo
from rlvr.learner.objective import Controlled, Objective
from rlvr.learner.terms.entropy import AdaptiveEntropy, EntropyBonus, TargetEntropy
from rlvr.learner.terms.kl import AdaptiveKl, Kl
from rlvr.metrics import describe
from tests.learner.loss_cases import ADVANTAGES, LOGPROBS, SAMPLED, gradient, inputs, mean

REFERENCE = [-0.8, -1.0, -0.3, -1.5, -0.6, -1.0, -1.2]
PROXIMAL = [-0.75, -1.2, -0.2, -1.7, -0.7, -1.2, -0.9]
WEIGHTS = [0.3, 0.1, 0.2, 0.05, 0.05, 0.2, 0.1]


@dataclass(frozen=True)
class Halve:
    """A correction that halves every share."""

    name: str = "halved"
    weights: list = field(default_factory=list)

    def __call__(self, one):
        self.weights.append(one.weights_T.tolist())
        factor_T = torch.full_like(one.weights_T, 0.5)
        return factor_T, {self.name: masked_mean(factor_T, one.mask_T)}


class Pairs:
    """A loss that compares pairs."""

    pairs = True
    whole_sequences = True
    needs = frozenset({"reference"})

    def __call__(self, one):
        return LossOutput(loss=one.logprobs_T.sum() * 0, metrics={})


def stale(cut=slice(None), **others):
    one = inputs(LOGPROBS[cut], SAMPLED[cut], ADVANTAGES[cut], weights=WEIGHTS[cut], **others)
    sequences = [0, 0, 0, 0, 1, 1, 1][cut]
    return replace(
        one,
        reference_logprobs_T=torch.tensor(REFERENCE[cut], dtype=torch.float64),
        proximal_logprobs_T=torch.tensor(PROXIMAL[cut], dtype=torch.float64),
        sequence_T=torch.tensor(sequences) - sequences[0],
    )


def full():
    return Objective(
        loss=Clipped(),
        terms=(Kl(coef=0.1), EntropyBonus(coef=0.01)),
        corrections=(GeometricMask(low=0.5, high=1.1), TokenTis(cap=1.1)),
    )


def test_alone_a_loss_is_itself():
    expected, slopes = gradient(Clipped(), stale())
    output, found = gradient(Objective(loss=Clipped()), stale())
    assert output.loss.item() == expected.loss.item()
    assert found == slopes
    assert output.metrics.keys() == expected.metrics.keys()


def test_terms_are_added_to_the_loss():
    terms = (Kl(coef=0.1), EntropyBonus(coef=0.01))
    output, slopes = gradient(Objective(loss=Clipped(), terms=terms), stale())
    parts = [gradient(part, stale()) for part in (Clipped(), Kl(coef=0.1))]
    bonus = EntropyBonus(coef=0.01)(stale()).loss.item()
    total = sum(part.loss.item() for part, _ in parts) + bonus
    assert output.loss.item() == pytest.approx(total, abs=1e-12)
    both = [sum(pair) for pair in zip(*(part for _, part in parts), strict=True)]
    assert slopes == pytest.approx(both, abs=1e-12)
    assert {"actor/kl_loss", "actor/entropy_coef", "actor/pg_clipfrac"} <= output.metrics.keys()


def test_corrections_multiply_and_weight_the_policy_loss_alone():
    term = Kl(coef=0.1)
    objective = Objective(
        loss=Clipped(), terms=(term,), corrections=(Halve("first"), Halve("second"))
    )
    output = objective(stale())
    expected = Clipped()(stale()).loss.item() / 4 + term(stale()).loss.item()
    assert output.loss.item() == pytest.approx(expected, abs=1e-12)
    assert mean(output, "first") == mean(output, "second") == 0.5
    assert mean(output, "actor/kl_loss") == mean(term(stale()), "actor/kl_loss")


def test_a_correction_sees_the_plain_weights():
    second = Halve()
    Objective(loss=Clipped(), corrections=(Halve(), second))(stale())
    assert second.weights == [WEIGHTS]


def test_a_factor_passes_no_gradient_on():
    def by_probability(one):
        return one.logprobs_T.exp(), {}

    _, slopes = gradient(Objective(loss=Clipped(), corrections=(by_probability,)), stale())
    _, plain = gradient(Clipped(), stale())
    expected = [math.exp(p) * slope for p, slope in zip(LOGPROBS, plain, strict=True)]
    assert slopes == pytest.approx(expected)


def test_what_corrections_leave_out_together_is_counted():
    masks = (TokenMask(low=0.9, high=1.1), GeometricMask(low=0.5, high=1.0))
    output, slopes = gradient(Objective(loss=Reinforce(), corrections=masks), stale())
    # Proximal / sampled: e**-0.05, 0.05, 0.05, -0.3 | 0, 0.1 and -0.1: the second's mean is 1.
    dropped = [slope == 0 for slope in slopes]
    assert dropped == [False, False, False, True, False, True, False]
    found = mean(output, "rollout_corr/rollout_rs_masked_fraction")
    assert found == pytest.approx(sum(dropped) / 7)


def test_shares_of_a_cut_between_completions_add_up():
    whole, slopes = gradient(full(), stale())
    halves = [gradient(full(), stale(cut)) for cut in (slice(0, 4), slice(4, 7))]
    assert sum(part.loss.item() for part, _ in halves) == pytest.approx(whole.loss.item())
    assert [slope for _, part in halves for slope in part] == pytest.approx(slopes)
    for name, metric in whole.metrics.items():
        total = sum(part.metrics[name].total.item() for part, _ in halves)
        assert total == pytest.approx(metric.total.item())


def test_what_stands_outside_the_mask_reaches_nothing():
    one = stale(mask=[True] * 6 + [False])
    clean, expected = gradient(full(), stale(mask=[True] * 6 + [False]))
    with torch.no_grad():
        for name in ("logprobs", "sampled_logprobs", "reference_logprobs", "weights", "entropy"):
            getattr(one, f"{name}_T")[6] = float("nan")
    output, slopes = gradient(full(), one)
    assert output.loss.item() == clean.loss.item()
    assert slopes == expected
    assert slopes[6] == 0


def test_it_needs_what_any_part_needs():
    assert Objective(loss=Clipped()).needs == frozenset()
    assert full().needs == {"reference", "proximal"}
    assert Objective(loss=Pairs()).needs == {"reference"}


def test_it_works_on_whole_sequences_where_any_part_does():
    assert not Objective(loss=Clipped(), corrections=(TokenTis(),)).whole_sequences
    assert full().whole_sequences
    assert Objective(loss=Pairs()).whole_sequences
    assert Objective(loss=Clipped(), terms=(Pairs(),)).whole_sequences


def test_pairs_are_those_of_its_parts():
    assert Objective(loss=Pairs()).pairs
    assert not full().pairs


def test_every_term_observes_and_its_state_goes_round():
    def made():
        terms = (
            AdaptiveKl(coef=0.2, target=0.1, horizon=10),
            Kl(coef=0.1),
            AdaptiveEntropy(),
            TargetEntropy(),
        )
        return Objective(loss=Clipped(), terms=terms)

    objective, resumed = made(), made()
    objective.observe({"actor/entropy": 0.1, "actor/kl_loss": 0.5})
    state = objective.state_dict()
    assert state == {
        "AdaptiveKl:0": {"coef": pytest.approx(0.204)},
        "AdaptiveEntropy:0": {"coef": 0.005, "entropy": 0.1},
        "TargetEntropy:0": {"entropy": 0.1},
    }
    assert resumed.state_dict() != state
    resumed.load_state_dict(state)
    assert resumed.state_dict() == objective.state_dict()
    assert resumed(stale()).loss.item() == objective(stale()).loss.item()


def controllers(*coefs):
    return tuple(AdaptiveKl(coef=coef, target=0.1, horizon=10) for coef in coefs)


def test_a_controller_finds_its_state_whatever_else_stands_before_it():
    saved = Objective(loss=Clipped(), terms=controllers(3.0, 5.0)).state_dict()
    assert saved == {"AdaptiveKl:0": {"coef": 3.0}, "AdaptiveKl:1": {"coef": 5.0}}
    first, second = controllers(1.0, 1.0)
    objective = Objective(
        loss=Clipped(), terms=(EntropyBonus(coef=0.1), first, Kl(coef=0.1), second)
    )
    objective.load_state_dict(saved)
    assert first.state_dict() == {"coef": 3.0}
    assert second.state_dict() == {"coef": 5.0}


@pytest.mark.parametrize(
    ("terms", "has"),
    [
        ((), "nothing"),
        ((AdaptiveEntropy(),), "AdaptiveEntropy:0"),
        (controllers(1.0, 1.0), "AdaptiveKl:0, AdaptiveKl:1"),
    ],
)
def test_the_state_of_other_terms_is_refused(terms, has):
    saved = Objective(loss=Clipped(), terms=controllers(3.0)).state_dict()
    objective = Objective(loss=Clipped(), terms=terms)
    before = objective.state_dict()
    says = f"remembers AdaptiveKl:0, and this objective has {has} to go on: .*resume with"
    with pytest.raises(ValueError, match=says):
        objective.load_state_dict(saved)
    assert objective.state_dict() == before


def test_only_terms_that_follow_a_measurement_are_controlled():
    assert isinstance(AdaptiveEntropy(), Controlled)
    assert not isinstance(Kl(coef=0.1), Controlled)
    assert not isinstance(EntropyBonus(coef=0.1), Controlled)


def test_every_metric_is_described():
    assert [name for name in full()(stale()).metrics if describe(name) is None] == []


@pytest.mark.parametrize(
    "loss",
    [Clipped(), Cispo(), TwoSidedCispo(), Sapo(), Nft(), Gspo(), Gmpo()],
    ids=lambda loss: type(loss).__name__,
)
@pytest.mark.parametrize("weight", [TokenTis(), TokenMask(), SequenceTis(), SeqMaskTis()])
def test_a_weight_to_the_sampler_is_refused_where_that_is_the_losss_own_ratio(loss, weight):
    objective = Objective(loss=loss, corrections=(GeometricMask(low=0.1, high=9.0), weight))
    bare = replace(stale(), proximal_logprobs_T=None)
    kind = type(weight).__name__
    with pytest.raises(ValueError, match=f"proximal_logprobs_T=None with {kind}.*give"):
        objective(bare)
    assert objective(stale()).loss.isfinite()
    assert Objective(loss=loss, corrections=objective.corrections[:1])(bare).loss.isfinite()


def test_a_weight_to_the_sampler_beside_a_loss_without_a_ratio_needs_no_start_of_the_step():
    bare = replace(stale(), proximal_logprobs_T=None)
    for loss in (Reinforce(), PositiveNll()):
        assert Objective(loss=loss, corrections=(TokenTis(),))(bare).loss.isfinite()


def test_corrections_also_reach_a_loss_that_imitates_correct_samples():
    one = replace(
        inputs([-1.0, -2.0], [-1.0, -2.0], [1.0, 1.0]),
        correct_weights_T=torch.tensor([0.5, 0.5], dtype=torch.float64),
    )

    def drops_the_first(_):
        return torch.tensor([0.0, 1.0], dtype=torch.float64), {}

    objective = Objective(loss=PositiveNll(of="correct"), corrections=(drops_the_first,))
    assert objective(one).loss.item() == pytest.approx(0.5 * 2.0)
