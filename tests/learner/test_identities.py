"""Losses that are each other under some settings, though written down apart."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from rlvr.advantages.dr_grpo import DrGrpo
from rlvr.advantages.grpo import Grpo
from rlvr.advantages.rloo import Rloo
from rlvr.learner.aggregation import token_weights
from rlvr.learner.losses.bcpg import BcpgNsa
from rlvr.learner.losses.cispo import Cispo, TwoSidedCispo
from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.losses.dco import Dco
from rlvr.learner.losses.decoupled import Decoupled
from rlvr.learner.losses.dpo import Dpo, Ipo
from rlvr.learner.losses.dppo import DppoTv
from rlvr.learner.losses.dro import Dro
from rlvr.learner.losses.gmpo import Gmpo
from rlvr.learner.losses.gspo import Gspo
from rlvr.learner.losses.kimi import Kimi
from rlvr.learner.losses.nft import Nft
from rlvr.learner.losses.nll import PositiveNll
from rlvr.learner.losses.prime_rl import PrimeRl
from rlvr.learner.losses.reinforce import Reinforce
from rlvr.learner.losses.topr import TokenTopr, Topr
from tests.conftest import graded
from tests.learner.loss_cases import LENGTHS, LOGPROBS, SAMPLED, gradient, inputs

REWARDS = (0.0, 0.0, 0.0, 1.0)
INFINITY = float("inf")


def batch(
    seed, *, lengths=(3, 5, 1, 4), advantages=None, on_policy=False, aggregation="token-mean"
):
    """Some sequences of a problem at random, with advantages of their own each."""
    draw = random.Random(seed)
    count = sum(lengths)
    logprobs = [draw.uniform(-3.0, -0.05) for _ in range(count)]
    sampled = logprobs if on_policy else [p + draw.gauss(0, 0.2) for p in logprobs]
    advantages = advantages or [draw.gauss(0, 1) for _ in lengths]
    weights = token_weights(np.array(lengths), aggregation, max_tokens=8).astype(float).tolist()
    return inputs(
        logprobs,
        sampled,
        spread(advantages, lengths),
        weights=spread(weights, lengths),
        lengths=list(lengths),
        reference=[p + draw.gauss(0, 0.2) for p in logprobs],
    )


def spread(values, lengths):
    return [value for value, length in zip(values, lengths, strict=True) for _ in range(length)]


def slopes_of(loss, one):
    fresh = replace(one, logprobs_T=one.logprobs_T.detach().clone().requires_grad_())
    output, slopes = gradient(loss, fresh)
    return output.loss.item(), torch.tensor(slopes, dtype=torch.float64)


def same(one, *losses, value=True):
    (first_value, first), *others = [slopes_of(loss, one) for loss in losses]
    assert first.abs().max() > 0
    for other_value, other in others:
        torch.testing.assert_close(other, first, rtol=1e-10, atol=1e-12)
        if value:
            assert other_value == pytest.approx(first_value, abs=1e-12)


every_batch = pytest.mark.parametrize("seed", range(3))


@every_batch
@pytest.mark.parametrize(
    ("normalize", "advantage"), [("dr_grpo", DrGrpo()), ("grpo", Grpo(ddof=0, eps=0.0))]
)
def test_nft_on_policy_is_the_policy_gradient_of_its_normalisation(seed, normalize, advantage):
    centred = batch(seed, advantages=DrGrpo()(graded(*REWARDS)), on_policy=True)
    other = batch(seed, advantages=advantage(graded(*REWARDS)), on_policy=True)
    _, nft = slopes_of(Nft(normalize=normalize), centred)
    _, clipped = slopes_of(Clipped(), other)
    torch.testing.assert_close(nft, clipped, rtol=1e-10, atol=1e-12)


@every_batch
@pytest.mark.parametrize("loss", [Clipped(), Reinforce(), Gspo(), Topr()])
def test_rloo_is_dr_grpo_times_a_factor_of_the_groups_size(seed, loss):
    _, centred = slopes_of(loss, batch(seed, advantages=DrGrpo()(graded(*REWARDS))))
    _, left_out = slopes_of(loss, batch(seed, advantages=Rloo()(graded(*REWARDS))))
    torch.testing.assert_close(left_out, centred * 4 / 3, rtol=1e-10, atol=1e-12)


@every_batch
@pytest.mark.parametrize("tau", [0.1, 0.5, 2.0])
def test_kimis_squared_surrogate_has_two_tau_times_its_slope(seed, tau):
    advantages = [0.75, -0.25, -0.25, -0.25]
    one = batch(seed, advantages=advantages, aggregation="seq-mean-token-sum")
    _, slopes = slopes_of(Kimi(tau=tau), one)
    logprobs_T = one.logprobs_T.detach().clone().requires_grad_()
    moved_T = logprobs_T - one.sampled_logprobs_T
    moved_B = torch.stack([part.sum() for part in moved_T.split([3, 5, 1, 4])])
    surprise_B = torch.tensor(advantages, dtype=torch.float64) - tau * moved_B
    surprise_B.square().mean().backward()
    torch.testing.assert_close(logprobs_T.grad / (2 * tau), slopes, rtol=1e-10, atol=1e-12)


@every_batch
def test_kimi_on_sequences_of_one_token_is_dro(seed):
    one = batch(seed, lengths=(1, 1, 1, 1))
    same(one, Kimi(tau=0.7), Dro(beta=0.7))


@every_batch
def test_bcpg_is_kimi_around_the_reference_with_the_length_divided_out(seed):
    one = batch(seed, aggregation="seq-mean-token-mean")
    around = replace(one, proximal_logprobs_T=one.reference_logprobs_T)
    same(around, BcpgNsa(tau=0.3), Kimi(tau=0.3))


@every_batch
def test_luspo_is_gspo_whose_sequences_count_their_length(seed):
    loss = Gspo(clip_low=0.1, clip_high=0.1)
    _, summed = slopes_of(loss, batch(seed, aggregation="seq-mean-token-sum"))
    _, averaged = slopes_of(loss, batch(seed, aggregation="seq-mean-token-mean"))
    lengths_T = torch.tensor(spread([3.0, 5.0, 1.0, 4.0], (3, 5, 1, 4)), dtype=torch.float64)
    torch.testing.assert_close(summed, averaged * lengths_T, rtol=1e-6, atol=1e-12)


@every_batch
def test_sequences_of_one_token_make_sequence_losses_token_losses(seed):
    one = batch(seed, lengths=(1,) * 12)
    same(one, Gspo(clip_low=0.2, clip_high=0.28), Clipped(clip_low=0.2, clip_high=0.28))
    bounds = {"clip_low": 1 - math.exp(-0.1), "clip_high": math.exp(0.1) - 1}
    same(one, Gmpo(clip_low=0.1, clip_high=0.1), Clipped(**bounds))
    same(one, Topr(), Topr(ratio="geometric"), TokenTopr())
    same(one, Topr(positive_low=0.0, positive_high=1.5, negative_high=1.5), Cispo(ratio_cap=1.5))


@every_batch
def test_without_bounds_the_weighted_losses_are_one(seed):
    one = batch(seed)
    weighted = [Cispo(ratio_cap=INFINITY), TwoSidedCispo(clip_low=1.0, clip_high=INFINITY)]
    weighted += [Reinforce(weight_cap=INFINITY), DppoTv(max_shift=0.999, weight_cap=INFINITY)]
    same(one, *weighted)
    ratio = PrimeRl(max_fall=0.999, max_rise=0.999, tau=0.0)
    same(one, ratio, Clipped(clip_low=1 - 1e-9, clip_high=INFINITY))
    same(one, ratio, *weighted, value=False)


@every_batch
def test_decoupled_is_clipped_where_the_sampler_is_the_steps_start(seed):
    one = batch(seed)
    started = replace(one, proximal_logprobs_T=one.sampled_logprobs_T)
    same(started, Decoupled(), Clipped())
    same(
        replace(one, lag_T=torch.zeros_like(one.weights_T)),
        Decoupled(proximal="log-linear"),
        Clipped(),
    )


@every_batch
def test_dco_of_one_sample_is_likelihood(seed):
    one = batch(seed, aggregation="seq-mean-token-sum")
    same(one, Dco(samples=1), PositiveNll())


@every_batch
def test_at_the_reference_every_pair_loss_of_it_pushes_along_one_direction(seed):
    one = batch(seed, lengths=(3, 3, 2, 2), aggregation="seq-mean-token-sum")
    one = replace(one, reference_logprobs_T=one.logprobs_T.detach().clone())
    _, dpo = slopes_of(Dpo(beta=0.2), one)
    sides = torch.tensor(spread([-1.0, 1.0, -1.0, 1.0], (3, 3, 2, 2)), dtype=torch.float64)
    # -log sigmoid has the slope -1/2 at 0, and there are two pairs.
    torch.testing.assert_close(dpo, sides * 0.2 / 2 / 2, rtol=1e-10, atol=1e-12)
    _, ipo = slopes_of(Ipo(beta=0.2, length_normalized=False), one)
    torch.testing.assert_close(ipo, sides / 0.2 / 2, rtol=1e-10, atol=1e-12)


def test_topr_fades_a_long_wrong_answer_where_its_other_forms_do_not():
    one = inputs([-0.6] * 50, [-0.5] * 50, [-1.0] * 50, weights=[1.0] * 50, lengths=[50])
    for loss, weight in (
        (Topr(), math.exp(-5.0)),
        (Topr(ratio="geometric"), math.exp(-0.1)),
        (TokenTopr(), math.exp(-0.1)),
    ):
        _, slopes = slopes_of(loss, one)
        assert slopes.tolist() == pytest.approx([weight] * 50, abs=1e-12)


def test_the_step_weights_of_bcpg_are_its_advantages():
    weights = [0.5, 1.0, 0.5, 1.0, 1.0, 0.5, 1.0]
    centred = spread([0.5, -0.5], LENGTHS)
    one = inputs(
        LOGPROBS,
        SAMPLED,
        [a * beta for a, beta in zip(centred, weights, strict=True)],
        lengths=LENGTHS,
        reference=LOGPROBS,
    )
    _, slopes = slopes_of(BcpgNsa(tau=1.0), one)
    expected = [-a * beta / 7 for a, beta in zip(centred, weights, strict=True)]
    assert slopes.tolist() == pytest.approx(expected, abs=1e-12)
