"""Parts of an algorithm that go together, and those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlvr.advantages.dr_grpo import DrGrpo
from rlvr.advantages.gae import Gae
from rlvr.advantages.reward_kl import RewardKl
from rlvr.algorithm import Algorithm, algorithm
from rlvr.config import ConfigError
from rlvr.learner.corrections.truncated import TokenTis
from rlvr.learner.losses.clipped import Clipped
from rlvr.learner.terms.entropy import EntropyBonus
from rlvr.learner.terms.kl import Kl
from rlvr.probing import ContinuedPrefixes
from rlvr.recipes import load

RECIPE = """
model: models/none
rollouts_per_problem: 8
problems: {_target_: rlvr.problems.arithmetic.Arithmetic, split: train}
reward: {_target_: rlvr.rewards.math.Math}
filter: {_target_: rlvr.difficulty.band.BalancedBand}
advantage: {_target_: rlvr.advantages.grpo.Grpo}
learner: {dtype: float32, loss: {_target_: rlvr.learner.losses.clipped.Clipped}}
"""

KL = "learner.terms=[{_target_: rlvr.learner.terms.kl.Kl, coef: 0.1}]"
CRITIC = "learner.critic.optimizer.lr=1e-5"
REFERENCE = "learner.reference.ema_decay=0.9"
REWARD_KL = ("reward_kl._target_=rlvr.advantages.reward_kl.RewardKl", "reward_kl.coef=0.01")
STEPS = "probe._target_=rlvr.probing.ContinuedPrefixes"
SHAPING = "shaping=[{_target_: rlvr.rewards.shaping.rescale.Rescale}]"
SUM = "learner.aggregation=seq-mean-token-sum"


def advantage(place: str, *arguments: str) -> tuple[str, ...]:
    return (f"advantage._target_=rlvr.advantages.{place}", *arguments)


def loss(place: str, *arguments: str) -> tuple[str, ...]:
    return (f"learner.loss._target_=rlvr.learner.losses.{place}", *arguments)


def corrections(*places: str) -> str:
    nodes = ", ".join(f"{{_target_: rlvr.learner.corrections.{place}}}" for place in places)
    return f"learner.corrections=[{nodes}]"


GAE = advantage("gae.Gae")
NFT = (*loss("nft.Nft"), *advantage("dr_grpo.DrGrpo"))
LORA, BF16 = "learner.lora.rank=8", "learner.dtype=bfloat16"
FP32_ROLLOUTS, RECOMPUTED = "rollout.dtype=float32", "learner.recompute_logprobs=true"
PAIRS = (*loss("dpo.Dpo"), *advantage("pairs.CorrectVersusWrong"), SUM)


@pytest.fixture
def made(tmp_path: Path):
    path = tmp_path / "base.yaml"
    path.write_text(RECIPE)

    def of(*words: str) -> Algorithm:
        return algorithm(load([f"recipe={path}", *words], model=False))

    return of


REFUSED = {
    "values without a critic": (
        GAE,
        "learner.critic=null: Gae works on a critic's values; add one, such as "
        "learner.critic.optimizer.lr=1e-5",
    ),
    "adaptive values without a critic": (
        advantage("vapo.LengthAdaptiveGae"),
        "learner.critic=null: LengthAdaptiveGae works on",
    ),
    "a critic for nothing": (
        (CRITIC,),
        "learner.critic is set, and Grpo takes no values: it would be trained for nothing; take an "
        "estimator such as rlvr.advantages.gae.Gae, or learner.critic=null",
    ),
    "a critic for tokens without values": (
        (*advantage("reinforce_pp.ReinforcePp"), CRITIC),
        "learner.critic is set, and ReinforcePp takes no values",
    ),
    "a reference for nothing": (
        (REFERENCE,),
        "learner.reference is set, and neither the loss nor a term nor reward_kl compares with it; "
        "add one, such as learner.terms=[{_target_: rlvr.learner.terms.kl.Kl, coef: 0.001}], or "
        "learner.reference=null",
    ),
    "steps without a probe": (
        advantage("step_mc.StepMonteCarlo"),
        "probe=null: StepMonteCarlo needs success rates of prefixes; add "
        "probe._target_=rlvr.probing.ContinuedPrefixes (steps) or ForcedAnswers (MRT)",
    ),
    "progress without a probe": (
        advantage("mrt.MrtProgress", "advantage.alpha=0.2"),
        "probe=null: MrtProgress needs success rates",
    ),
    "a probe for nothing": (
        (STEPS,),
        "probe is set, and Grpo does not look at prefixes: every one would be sampled for nothing; "
        "set probe=null",
    ),
    "pairs under a loss of single rollouts": (
        (*advantage("pairs.CorrectVersusWrong"), SUM),
        "learner.loss=Clipped trains single rollouts and advantage=CorrectVersusWrong gives pairs: "
        "take rlvr.advantages.pairs.CorrectVersusWrong with a loss of rlvr.learner.losses.dpo, or "
        "neither",
    ),
    "single rollouts under a loss of pairs": (
        (*loss("dpo.SimPo"), SUM),
        "learner.loss=SimPo compares pairs and advantage=Grpo gives each rollout its own credit: "
        "take rlvr.advantages.pairs.CorrectVersusWrong",
    ),
    "k as large as the group": (
        advantage("pass_at_k.PassAtK", "advantage.k=8"),
        "advantage.k=8 with rollouts_per_problem=8: every choice of k holds the best rollout, so "
        "all advantages are 0; take a smaller k",
    ),
    "a weight twice": (
        (*loss("topr.Topr"), corrections("truncated.TokenTis")),
        "learner.corrections has TokenTis with learner.loss=Topr: that loss weighs tokens against "
        "the sampler itself, and it would count twice; take a filter such as "
        "rlvr.learner.corrections.sequence_filter.GeometricMask, or no correction",
    ),
    "a capped weight twice": (
        (
            *loss("reinforce.Reinforce", "learner.loss.weight_cap=2.0"),
            corrections("truncated.TokenTis"),
        ),
        "learner.corrections has TokenTis with learner.loss=Reinforce: that loss weighs tokens",
    ),
    "two weights twice": (
        (
            *loss("decoupled.Decoupled"),
            corrections("icepop.TokenMask", "sequence_filter.K3Mask", "truncated.SequenceTis"),
        ),
        "learner.corrections has TokenMask, SequenceTis with learner.loss=Decoupled",
    ),
    "a penalty that Gdpo does not see": (
        (*advantage("gdpo.Gdpo", "advantage.weights.math=1.0"), *REWARD_KL),
        "reward_kl with advantage=Gdpo: it does not see a reward that a penalty changed; put the "
        "penalty into the loss: learner.terms=[{_target_: rlvr.learner.terms.kl.Kl, coef: 0.001}]",
    ),
    "a penalty that Gpg counts": (
        (*advantage("gpg.Gpg"), *REWARD_KL),
        "reward_kl with advantage=Gpg: it does not see",
    ),
    "nft on other advantages": (
        loss("nft.Nft"),
        "learner.loss=Nft with advantage=Grpo: it reads the pass rate back from "
        "rlvr.advantages.dr_grpo.DrGrpo on rewards of 0 and 1; take that and nothing that changes "
        "rewards",
    ),
    "nft on shaped rewards": (
        (*NFT, SHAPING),
        "learner.loss=Nft with advantage=DrGrpo, shaping: it reads the pass rate back",
    ),
    "nft on penalised rewards": (
        (*NFT, *REWARD_KL),
        "learner.loss=Nft with advantage=DrGrpo, reward_kl: it reads the pass rate back",
    ),
    "prefixes valued on another scale than shaped rewards": (
        (*advantage("step_mc.StepMonteCarlo"), STEPS, SHAPING),
        "probe with shaping: prefixes are valued by the reward alone, for the tokens of a probe "
        "are not those of a rollout, and StepMonteCarlo would set these values against rewards on "
        "another scale; leave the probe out, or what changes rewards",
    ),
    "prefixes valued on another scale than penalised rewards": (
        (*advantage("mrt.Mrt"), STEPS, *REWARD_KL),
        "probe with reward_kl: prefixes are valued by the reward alone",
    ),
    "prefixes valued on another scale than both": (
        (*advantage("mrt.Mrt"), STEPS, SHAPING, *REWARD_KL),
        "probe with shaping and reward_kl: prefixes",
    ),
    "adapters that reach the sampler late": (
        (LORA, BF16, FP32_ROLLOUTS),
        "learner.lora with learner.dtype=bfloat16: the engines sample from merged weights, in "
        "which rounding hides what adapters change by less than half a step, so the sampler falls "
        "behind the policy that is trained; take learner.recompute_logprobs=true, for ratios "
        "against the learner's own policy, or float32 for both",
    ),
    "adapters that the engines round": (
        (LORA,),
        "learner.lora with rollout.dtype=bfloat16: the engines sample from merged weights",
    ),
    "adapters that both round": (
        (LORA, BF16),
        "learner.lora with learner.dtype=bfloat16 and rollout.dtype=bfloat16: the engines",
    ),
    "late adapters under a loss around the sampler": (
        (LORA, BF16, *loss("topr.Topr"), corrections("sequence_filter.GeometricMask")),
        "learner.lora with learner.dtype=bfloat16 and rollout.dtype=bfloat16: the engines sample "
        "from merged weights, in which rounding hides what adapters change by less than half a "
        "step, so the sampler falls behind the policy that is trained; with learner.loss=Topr, "
        "which takes its ratios from the sampler, take float32 for both",
    ),
    "log-probs that a loss around the sampler does not look at": (
        (*loss("dppo.DppoTv"), RECOMPUTED),
        "learner.recompute_logprobs=true with learner.loss=DppoTv: that loss takes its ratios from "
        "the sampler's log-probs, and a forward pass would serve diagnostics alone; set it to "
        "false",
    ),
    "log-probs that an interpolation does not look at": (
        (*loss("decoupled.Decoupled", "learner.loss.proximal=log-linear"), RECOMPUTED),
        "learner.recompute_logprobs=true with learner.loss=Decoupled: that loss",
    ),
    "log-probs that capped weights do not look at": (
        (*loss("reinforce.Reinforce", "learner.loss.weight_cap=2.0"), RECOMPUTED),
        "learner.recompute_logprobs=true with learner.loss=Reinforce: that loss",
    ),
    "long pairs that count more": (
        (*PAIRS, "learner.aggregation=token-mean"),
        "learner.aggregation=token-mean with Dpo: pairs are to count alike, whatever their "
        "lengths; take seq-mean-token-sum",
    ),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_go_together_is_refused_with_a_remedy(made, words):
    settings, complaint = REFUSED[words]
    with pytest.raises(ConfigError) as refused:
        made(*settings)
    [line] = str(refused.value).splitlines()
    assert line.startswith(complaint)


def test_all_that_is_wrong_is_said_at_once(made):
    with pytest.raises(ConfigError) as refused:
        made(*loss("nft.Nft"), CRITIC, REFERENCE, STEPS)
    begins = [line.split(",")[0] for line in str(refused.value).splitlines()]
    assert begins == [
        "learner.critic is set",
        "learner.reference is set",
        "probe is set",
        "learner.loss=Nft with advantage=Grpo: it reads the pass rate back from "
        "rlvr.advantages.dr_grpo.DrGrpo on rewards of 0 and 1; take that and nothing that changes "
        "rewards",
    ]


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("learner.loss.clip_low=2.0",), "learner.loss: clip_low=2.0"),
        (("learner.loss.clip_lo=0.2",), "learner.loss"),
        (
            ("learner.terms=[{_target_: rlvr.learner.terms.entropy.EntropyBonus, coef: -1.0}]",),
            "learner.terms[0]: coef=-1.0",
        ),
        (
            (
                "learner.corrections=[{_target_: rlvr.learner.corrections.m2po.M2po}, "
                "{_target_: rlvr.learner.corrections.truncated.TokenTis, cap: 0.5}]",
            ),
            "learner.corrections[1]: low=0.0, cap=0.5",
        ),
        (("advantage.ddof=3",), "advantage: ddof=3"),
        ((REWARD_KL[0], "reward_kl.coef=-0.1"), "reward_kl: coef=-0.1"),
        ((STEPS, "probe.samples=0"), "probe: samples=0"),
    ],
)
def test_what_a_part_refuses_comes_under_its_key(made, words, key):
    with pytest.raises(ConfigError) as refused:
        made(*words)
    assert str(refused.value).startswith(key)


RIGHT = {
    "grpo": (),
    "ppo": (*GAE, CRITIC),
    "a penalty on the reward": (*REWARD_KL, REFERENCE),
    "a penalty on ppo's reward": (*GAE, CRITIC, *REWARD_KL),
    "a term that compares": (KL, REFERENCE),
    "a loss that compares": (*loss("bcpg.BcpgNsa"), REFERENCE),
    "steps": (*advantage("step_mc.StepMonteCarlo"), STEPS),
    "progress": (
        *advantage("mrt.Mrt"),
        "probe._target_=rlvr.probing.ForcedAnswers",
    ),
    "pairs": (*PAIRS, REFERENCE),
    "pairs without a reference": (*PAIRS, *loss("dpo.SimPo")),
    "k below the group": advantage("pass_at_k.PassAtK", "advantage.k=7"),
    "a filter beside a weight": (*loss("topr.Topr"), corrections("sequence_filter.GeometricMask")),
    "a weight beside a plain loss": (corrections("truncated.TokenTis"),),
    "a weight on a loss without its own": (
        *loss("reinforce.Reinforce"),
        corrections("truncated.TokenTis"),
    ),
    "parts without a penalty": advantage("gdpo.Gdpo", "advantage.weights.math=1.0"),
    "nft": NFT,
    "adapters without rounding": (LORA, FP32_ROLLOUTS),
    "rounded adapters, ratios within the learner": (LORA, BF16, RECOMPUTED),
    "rounded adapters, corrected for the sampler": (LORA, BF16, corrections("truncated.TokenTis")),
    "rounded adapters under three policies": (LORA, BF16, *loss("decoupled.Decoupled")),
    "adapters under a loss around the sampler": (LORA, FP32_ROLLOUTS, *loss("topr.Topr")),
    "rounded weights without adapters": (BF16,),
    "three policies, asked for by name": (*loss("decoupled.Decoupled"), RECOMPUTED),
    "log-probs for a penalty on the reward": (*loss("topr.Topr"), RECOMPUTED, *REWARD_KL),
    "log-probs for a filter": (
        *loss("topr.Topr"),
        RECOMPUTED,
        corrections("sequence_filter.GeometricMask"),
    ),
    "shaped rewards": (SHAPING,),
}


@pytest.mark.parametrize("words", RIGHT)
def test_what_goes_together_passes(made, words):
    assert isinstance(made(*RIGHT[words]), Algorithm)


def test_the_parts_are_those_that_the_settings_name(made):
    found = made(
        *advantage("dr_grpo.DrGrpo"),
        "learner.loss.clip_high=0.28",
        "learner.terms=[{_target_: rlvr.learner.terms.kl.Kl, coef: 0.1}, "
        "{_target_: rlvr.learner.terms.entropy.EntropyBonus, coef: 0.01}]",
        "learner.corrections=[{_target_: rlvr.learner.corrections.truncated.TokenTis, cap: 3.0}]",
        *REWARD_KL,
    )
    assert found.objective.loss == Clipped(clip_high=0.28)
    assert found.objective.terms == (Kl(coef=0.1), EntropyBonus(coef=0.01))
    assert found.objective.corrections == (TokenTis(cap=3.0),)
    assert (found.estimator, found.penalty) == (DrGrpo(), RewardKl(coef=0.01))
    assert found.probe is None
    assert made(*advantage("step_mc.StepMonteCarlo"), STEPS).probe == ContinuedPrefixes()


@pytest.mark.parametrize(
    ("words", "critic", "reference", "recomputes"),
    [
        ((), False, False, False),
        ((*GAE, CRITIC), True, False, False),
        ((KL,), False, True, False),
        (REWARD_KL, False, True, False),
        (PAIRS, False, True, False),
        (loss("decoupled.Decoupled"), False, False, True),
        ((corrections("truncated.TokenTis"),), False, False, True),
        (("learner.recompute_logprobs=true",), False, False, True),
        ((*GAE, CRITIC, KL, "learner.recompute_logprobs=true"), True, True, True),
    ],
)
def test_the_learner_is_asked_for_scores_where_something_needs_them(
    made, words, critic, reference, recomputes
):
    found = made(*words)
    asked = (found.has_critic, found.needs_reference, found.recomputes)
    assert asked == (critic, reference, recomputes)
    assert found.scores == any(asked)

    class Scorer:
        async def score(self, rollouts, version):
            raise AssertionError

    scorer = Scorer()
    credit = found.credit(scorer)
    assert credit.scorer is (scorer if any(asked) else None)
    assert (credit.estimator, credit.penalty) == (found.estimator, found.penalty)
    assert isinstance(credit.estimator, Gae) == critic
