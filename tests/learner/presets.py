"""Every objective that the learner can be given, and samples on which all of its branches count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from rlvr.learner.corrections.icepop import SequenceMask, TokenMask
from rlvr.learner.corrections.m2po import M2po
from rlvr.learner.corrections.opsm import Opsm
from rlvr.learner.corrections.sequence_filter import GeometricMask, K3Mask, SeqMaskTis
from rlvr.learner.corrections.truncated import SequenceTis, TokenTis
from rlvr.learner.losses.bcpg import BcpgNsa
from rlvr.learner.losses.cispo import Cispo, TwoSidedCispo
from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.losses.dco import Dco
from rlvr.learner.losses.decoupled import Decoupled
from rlvr.learner.losses.dpo import Dpo, Ipo, SimPo
from rlvr.learner.losses.dppo import DppoKl, DppoTv
from rlvr.learner.losses.dro import Dro
from rlvr.learner.losses.gmpo import Gmpo
from rlvr.learner.losses.gspo import Gspo
from rlvr.learner.losses.kimi import Kimi
from rlvr.learner.losses.nft import Nft
from rlvr.learner.losses.nll import PositiveNll
from rlvr.learner.losses.prime_rl import PrimeRl
from rlvr.learner.losses.reinforce import Reinforce
from rlvr.learner.losses.sapo import Sapo
from rlvr.learner.losses.topr import TokenTopr, Topr
from rlvr.learner.losses.vespo import Vespo
from rlvr.learner.objective import Objective
from rlvr.learner.terms.entropy import AdaptiveEntropy, EntropyBonus, TargetEntropy
from rlvr.learner.terms.kl import AdaptiveKl, Kl
from rlvr.types import Finish, Rollout, TokenScores, TrainBatch, TrainSample

VERSION = 5
"""Of the weights that the batch starts from."""
MAX_TOKENS = 16
TEMPERATURES = (1.0, 0.7, 1.0, 1.3, 1.0)
"""Of each problem's rollouts."""
ENTROPY = {"actor/entropy": 2.0}
"""What a term is told of the update before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    name: str
    make: Callable[[], Objective]
    """A new one each time, for some terms remember."""
    aggregation: str
    recomputed: bool = False
    """Whether there are proximal log-probs though nothing in the objective insists on them."""

    @property
    def credit(self) -> str:
        objective = self.make()
        if objective.pairs:
            return "pairs"
        return "centred" if isinstance(objective.loss, Nft) else "any"


def _preset(
    name: str,
    loss: Any,
    *,
    terms: Callable[[], tuple[Any, ...]] = tuple,
    corrections: tuple[Any, ...] = (),
    aggregation: str = "token-mean",
    recomputed: bool = False,
) -> Preset:
    return Preset(
        name=name,
        make=lambda: Objective(loss=loss, terms=terms(), corrections=corrections),
        aggregation=aggregation,
        recomputed=recomputed,
    )


def _told(term: Any) -> tuple[Any, ...]:
    term.observe(ENTROPY)
    return (term,)


SEQUENCE_MEAN = {"aggregation": "seq-mean-token-mean"}
SEQUENCE_SUM = {"aggregation": "seq-mean-token-sum"}
SEQUENCE_NORM = {"aggregation": "seq-mean-token-sum-norm"}

TOKEN_LOSSES = [
    _preset("ppo", Clipped()),
    _preset("grpo", Clipped(), **SEQUENCE_MEAN),
    _preset("dr_grpo", Clipped(), **SEQUENCE_NORM),
    _preset("dapo", Clipped(clip_high=0.28, dual_clip=3.0)),
    _preset("clipped against the recomputed", Clipped(), recomputed=True),
    _preset("dual clip that is reached", Clipped(dual_clip=1.1), **SEQUENCE_SUM),
    _preset("cispo", Cispo(ratio_cap=1.2)),
    _preset("cispo, two-sided", TwoSidedCispo()),
    _preset("decoupled, clamped", Decoupled(weight_cap=1.1, dual_clip=3.0)),
    _preset("decoupled, masked", Decoupled(weight_cap=1.1, beyond_cap="mask")),
    _preset("decoupled, log-linear", Decoupled(proximal="log-linear", weight_cap=1.1)),
    _preset("reinforce", Reinforce()),
    _preset("reinforce, weighted", Reinforce(weight_cap=1.1), **SEQUENCE_NORM),
    _preset("token topr", TokenTopr()),
    _preset("nft as dr_grpo", Nft()),
    _preset("nft as grpo", Nft(normalize="grpo", floor=0.5), **SEQUENCE_MEAN),
    _preset("nft, no weight", Nft(normalize="none", negative_weight=0.5)),
    _preset("nll of advantage", PositiveNll()),
    _preset("nll by advantage", PositiveNll(by_advantage=True, coef=0.1)),
    _preset("nll of correct", PositiveNll(of="correct"), **SEQUENCE_MEAN),
    _preset("sapo", Sapo(), **SEQUENCE_MEAN),
    _preset("dppo by tv", DppoTv(max_shift=0.02)),
    _preset("dppo by kl", DppoKl(max_kl=0.002)),
    _preset("dro", Dro(beta=0.1)),
    _preset("prime-rl", PrimeRl(max_fall=0.02, max_rise=0.02)),
    _preset("clipped and summed", Clipped(clip_high=0.28), aggregation="token-sum"),
]
SEQUENCE_LOSSES = [
    _preset("gspo", Gspo(), **SEQUENCE_MEAN),
    _preset("luspo", Gspo(clip_low=0.1, clip_high=0.1), **SEQUENCE_SUM),
    _preset("gmpo", Gmpo(clip_low=0.2, clip_high=0.2), **SEQUENCE_MEAN),
    _preset("topr", Topr(), **SEQUENCE_MEAN),
    _preset("topr, geometric", Topr(ratio="geometric", positive_low=0.5, positive_high=2.0)),
    _preset("kimi", Kimi(tau=0.1), **SEQUENCE_SUM),
    _preset("bcpg-nsa", BcpgNsa(tau=0.05), **SEQUENCE_MEAN),
    _preset("vespo", Vespo()),
    _preset("dco", Dco(samples=8), **SEQUENCE_SUM),
]
PAIR_LOSSES = [
    _preset("dpo", Dpo(), **SEQUENCE_SUM),
    _preset("dpo, smoothed", Dpo(label_smoothing=0.1), **SEQUENCE_MEAN),
    _preset("ipo", Ipo(), **SEQUENCE_SUM),
    _preset("ipo, summed", Ipo(length_normalized=False, beta=0.2), **SEQUENCE_SUM),
    _preset("simpo", SimPo(), **SEQUENCE_SUM),
]
WITH_TERMS = [
    *[
        _preset(
            f"kl by {estimator}", Clipped(), terms=lambda e=estimator: (Kl(coef=0.2, estimator=e),)
        )
        for estimator in ("k2", "k3", "k3+")
    ],
    *[
        _preset(
            f"unbiased kl by {estimator}",
            Clipped(),
            terms=lambda e=estimator: (Kl(coef=0.2, estimator=e, unbiased=True),),
            **SEQUENCE_MEAN,
        )
        for estimator in ("k1", "k2", "k3", "k3+")
    ],
    _preset("adaptive kl", Clipped(), terms=lambda: (AdaptiveKl(coef=0.2, target=0.1),)),
    _preset("entropy bonus", Clipped(), terms=lambda: (EntropyBonus(coef=0.1),)),
    _preset("ter", Clipped(), terms=lambda: _told(TargetEntropy(coef=0.1)), **SEQUENCE_MEAN),
    _preset(
        "adaptive entropy",
        Clipped(),
        terms=lambda: _told(AdaptiveEntropy(target=2.5, initial=0.1)),
    ),
    _preset("vapo", Clipped(clip_high=0.28), terms=lambda: (PositiveNll(coef=0.1),)),
    _preset(
        "sequences beside tokens",
        Gspo(clip_low=0.1, clip_high=0.1),
        terms=lambda: (Kl(coef=0.2), EntropyBonus(coef=0.1)),
        **SEQUENCE_MEAN,
    ),
    _preset("pairs beside tokens", Dpo(), terms=lambda: (PositiveNll(coef=0.1),), **SEQUENCE_SUM),
]
CORRECTED = [
    _preset(name, Clipped(), corrections=(correction,))
    for name, correction in {
        "token tis": TokenTis(cap=1.2, low=0.8),
        "sequence tis": SequenceTis(cap=1.3),
        "icepop": TokenMask(low=0.8, high=1.25),
        "sequence mask": SequenceMask(high=1.5),
        "geometric mask": GeometricMask(low=0.95, high=1.05),
        "k3 mask": K3Mask(max_k3=0.03),
        "sequence mask and tis": SeqMaskTis(low=0.95, high=1.05, cap=1.2),
        "opsm": Opsm(delta=0.02),
        "m2po": M2po(),
    }.items()
] + [
    _preset(
        "two corrections and two terms",
        Clipped(clip_high=0.28),
        terms=lambda: (Kl(coef=0.2), EntropyBonus(coef=0.1)),
        corrections=(TokenTis(cap=1.2), K3Mask(max_k3=0.03)),
        **SEQUENCE_MEAN,
    ),
    _preset(
        "sequences corrected",
        Gspo(clip_low=0.03, clip_high=0.03),
        corrections=(TokenMask(low=0.8, high=1.25),),
        **SEQUENCE_MEAN,
    ),
]
PRESETS = {
    preset.name: preset
    for preset in (*TOKEN_LOSSES, *SEQUENCE_LOSSES, *PAIR_LOSSES, *WITH_TERMS, *CORRECTED)
}


def samples(preset: Preset, model: str) -> TrainBatch:
    """Some 15 samples of 5 problems, of uneven lengths, drawn by ``model`` and scored by weights
    near it."""
    objective = preset.make()
    known = objective.needs | ({"proximal"} if preset.recomputed else frozenset())
    batch = _drawn(model, preset.credit)
    return replace(batch, samples=tuple(_knowing(sample, known) for sample in batch.samples))


def _knowing(sample: TrainSample, known: frozenset[str]) -> TrainSample:
    scores = sample.scores
    assert scores is not None
    kept = TokenScores(
        logprobs_T=scores.logprobs_T if "proximal" in known else None,
        reference_logprobs_T=scores.reference_logprobs_T if "reference" in known else None,
    )
    return replace(sample, scores=kept if known else None)


@cache
def _drawn(model: str, credit: str) -> TrainBatch:
    random = np.random.default_rng(3)
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    made: list[TrainSample] = []
    for problem, temperature in enumerate(TEMPERATURES):
        prompt = tuple(int(i) for i in random.integers(3, 64, random.integers(1, 9)))
        count = 2 + 2 * (problem % 2) if credit == "pairs" else 3
        rollouts = [_rollout(policy, prompt, temperature, random) for _ in range(count)]
        right = [index % 2 == 0 for index in range(len(rollouts))]
        for index, (rollout, near) in enumerate(rollouts):
            sample = TrainSample(
                rollout=rollout,
                advantage=_advantage(credit, right, index, random),
                scores=near,
                correct=right[index],
                problem=problem,
            )
            made.append(sample)
    if credit == "any":
        tokens = len(made[4].rollout.completion_ids_T)
        made[4] = replace(made[4], token_advantages_T=tuple(map(float, random.normal(size=tokens))))
    made[7] = replace(made[7], trains=False)
    return TrainBatch(samples=tuple(made), version=VERSION)


def _advantage(credit: str, right: list[bool], index: int, random: np.random.Generator) -> float:
    if credit == "pairs":
        return 1.0 if right[index] else -1.0
    if credit == "centred":
        return right[index] - sum(right) / len(right)
    return float(random.normal())


@torch.no_grad()
def _rollout(
    policy: Any, prompt: tuple[int, ...], temperature: float, random: np.random.Generator
) -> tuple[Rollout, TokenScores]:
    """What the policy draws, sampled by weights near it, of some age, that may have changed once
    on the way; and what two other policies near it say."""
    ids = list(prompt)
    own: list[float] = []
    for _ in range(int(random.integers(1, 14))):
        logits_V = policy(input_ids=torch.tensor([ids])).logits[0, -1].double() / temperature
        p_V = logits_V.softmax(-1).numpy()
        ids.append(int(random.choice(len(p_V), p=p_V / p_V.sum())))
        own.append(float(np.log(p_V[ids[-1]])))
    tokens = len(own)
    age, change = int(random.integers(0, 4)), int(random.integers(0, tokens + 1))
    versions = [VERSION - age] * change + [VERSION - age // 2] * (tokens - change)

    def near(spread: float) -> tuple[float, ...]:
        moved = np.array(own) + random.normal(0, spread, tokens)
        return tuple(map(float, np.minimum(moved, -1e-3)))

    rollout = Rollout(
        prompt_ids=prompt,
        completion_ids_T=tuple(ids[len(prompt) :]),
        logprobs_T=near(0.2),
        versions_T=tuple(versions),
        text="",
        finish=Finish.STOP,
        temperature=temperature,
    )
    return rollout, TokenScores(logprobs_T=near(0.15), reference_logprobs_T=near(0.3))
