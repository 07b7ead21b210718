"""What must hold between the parts of an algorithm; each part has checked itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rlvr.advantages.base import PairSelection, TokenAdvantage
from rlvr.advantages.dr_grpo import DrGrpo
from rlvr.advantages.gdpo import Gdpo
from rlvr.advantages.gpg import Gpg
from rlvr.advantages.pass_at_k import PassAtK
from rlvr.advantages.reinforce import Reinforce, ReinforceBatchMean, ReinforceRunningMean
from rlvr.config import RunConfig
from rlvr.learner.losses.decoupled import Decoupled
from rlvr.learner.losses.dppo import DppoKl, DppoTv
from rlvr.learner.losses.nft import Nft
from rlvr.learner.losses.prime_rl import PrimeRl
from rlvr.learner.losses.reinforce import Reinforce as ReinforceLoss
from rlvr.learner.losses.topr import TokenTopr, Topr
from rlvr.learner.losses.vespo import Vespo
from rlvr.learner.objective import Objective

if TYPE_CHECKING:
    from rlvr.algorithm import Algorithm

AT_THE_SAMPLER = (Topr, TokenTopr, Vespo, DppoTv, DppoKl, PrimeRl, Decoupled)
"""Losses with an importance weight of their own; ``Reinforce`` has one under ``weight_cap``."""


def refusals(run: RunConfig, made: Algorithm) -> Iterator[str]:
    """What is right by itself and wrong together: the values, the reason, the remedy."""
    for part in (_unmet, _pairs, _counts, _misread, _on_two_scales, _behind_or_for_nothing):
        yield from part(run, made)


def _unmet(run: RunConfig, made: Algorithm) -> Iterator[str]:
    """Models and measurements that something needs, or that nothing uses."""
    estimator, name = made.estimator, type(made.estimator).__name__
    needs_values = isinstance(estimator, TokenAdvantage) and estimator.needs_values
    if needs_values and not made.has_critic:
        yield (
            f"learner.critic=null: {name} works on a critic's values; add one, such as "
            "learner.critic.optimizer.lr=1e-5"
        )
    if made.has_critic and not needs_values:
        yield (
            f"learner.critic is set, and {name} takes no values: it would be trained for nothing; "
            "take an estimator such as rlvr.advantages.gae.Gae, or learner.critic=null"
        )
    if run.learner.reference is not None and not made.needs_reference:
        yield (
            "learner.reference is set, and neither the loss nor a term nor reward_kl compares with "
            "it; add one, such as learner.terms=[{_target_: rlvr.learner.terms.kl.Kl, "
            "coef: 0.001}], or learner.reference=null"
        )
    needs_probes = getattr(estimator, "needs_prefix_values", False)
    if needs_probes and made.probe is None:
        yield (
            f"probe=null: {name} needs success rates of prefixes; add "
            "probe._target_=rlvr.probing.ContinuedPrefixes (steps) or ForcedAnswers (MRT)"
        )
    if made.probe is not None and not needs_probes:
        yield (
            f"probe is set, and {name} does not look at prefixes: every one would be sampled for "
            "nothing; set probe=null"
        )


def _pairs(run: RunConfig, made: Algorithm) -> Iterator[str]:
    """A loss on pairs, and what has to give it some."""
    estimator, name = made.estimator, type(made.estimator).__name__
    loss_name = type(made.objective.loss).__name__
    selects = isinstance(estimator, PairSelection)
    if selects != made.objective.pairs:
        wrong = "compares pairs" if made.objective.pairs else "trains single rollouts"
        yield (
            f"learner.loss={loss_name} {wrong} and advantage={name} gives "
            f"{'pairs' if selects else 'each rollout its own credit'}: take "
            "rlvr.advantages.pairs.CorrectVersusWrong with a loss of rlvr.learner.losses.dpo, or "
            "neither"
        )
    longest = run.sampling.max_prompt_tokens + run.sampling.max_tokens
    if made.objective.pairs and run.learner.tokens_per_microbatch < 2 * longest:
        yield (
            f"learner.tokens_per_microbatch={run.learner.tokens_per_microbatch}: a pair of "
            f"rollouts stays together and may have 2 x {longest} tokens; use at least {2 * longest}"
        )
    if made.objective.pairs and run.learner.aggregation != "seq-mean-token-sum":
        yield (
            f"learner.aggregation={run.learner.aggregation} with {loss_name}: pairs are to count "
            "alike, whatever their lengths; take seq-mean-token-sum"
        )


def _counts(run: RunConfig, made: Algorithm) -> Iterator[str]:
    """Numbers with which nothing would be learnt."""
    estimator, name = made.estimator, type(made.estimator).__name__
    alone = isinstance(
        estimator, TokenAdvantage | Reinforce | ReinforceBatchMean | ReinforceRunningMean
    )
    if run.rollouts_per_problem < 2 and not alone:
        yield (
            f"rollouts_per_problem={run.rollouts_per_problem} with advantage={name}: it compares "
            "the rollouts of a problem; use at least 2, or an estimator that compares with a "
            "critic or the batch"
        )
    if isinstance(estimator, PassAtK) and estimator.k >= run.rollouts_per_problem:
        yield (
            f"advantage.k={estimator.k} with rollouts_per_problem={run.rollouts_per_problem}: "
            "every choice of k holds the best rollout, so all advantages are 0; take a smaller k"
        )
    updates = run.steps * run.updates_per_step
    if run.learner.critic is not None and run.learner.critic.only_steps >= updates:
        yield (
            f"learner.critic.only_steps={run.learner.critic.only_steps}: the run has {updates} "
            f"updates (steps={run.steps} x updates_per_step={run.updates_per_step}), so the policy "
            "would never train; lower it, or raise steps"
        )


def _misread(run: RunConfig, made: Algorithm) -> Iterator[str]:
    """Numbers that one part would take for something else, or a second time."""
    estimator, name = made.estimator, type(made.estimator).__name__
    loss, loss_name = made.objective.loss, type(made.objective.loss).__name__
    if _weighs_the_sampler(loss) and (twice := _weights(made.objective)):
        yield (
            f"learner.corrections has {twice} with learner.loss={loss_name}: that loss weighs "
            "tokens against the sampler itself, and it would count twice; take a filter such as "
            "rlvr.learner.corrections.sequence_filter.GeometricMask, or no correction"
        )
    if made.penalty is not None and isinstance(estimator, Gdpo | Gpg):
        yield (
            f"reward_kl with advantage={name}: it does not see a reward that a penalty changed; "
            "put the penalty into the loss: learner.terms=[{_target_: rlvr.learner.terms.kl.Kl, "
            "coef: 0.001}]"
        )
    if isinstance(loss, Nft) and (not isinstance(estimator, DrGrpo) or run.shaping or made.penalty):
        changed = ", shaping" * bool(run.shaping) + ", reward_kl" * (made.penalty is not None)
        yield (
            f"learner.loss=Nft with advantage={name}{changed}: it reads the pass rate back from "
            "rlvr.advantages.dr_grpo.DrGrpo on rewards of 0 and 1; take that and nothing that "
            "changes rewards"
        )


def _on_two_scales(run: RunConfig, made: Algorithm) -> Iterator[str]:
    """Values of prefixes beside rewards that they can't be held against."""
    shaping, penalty = ["shaping"] * bool(run.shaping), ["reward_kl"] * (made.penalty is not None)
    if made.probe is not None and (shaping or penalty):
        yield (
            f"probe with {' and '.join(shaping + penalty)}: prefixes are valued by the reward "
            "alone, for the tokens of a probe are not those of a rollout, and "
            f"{type(made.estimator).__name__} would set these values against rewards on another "
            "scale; leave the probe out, or what changes rewards (a KL penalty can go into the "
            "loss: learner.terms=[{_target_: rlvr.learner.terms.kl.Kl, coef: 0.001}])"
        )


def _behind_or_for_nothing(run: RunConfig, made: Algorithm) -> Iterator[str]:
    """A sampler that falls behind unseen, and log-probs that nothing would look at."""
    learner, loss = run.learner, made.objective.loss
    anchored = _weighs_the_sampler(loss) and "proximal" not in getattr(loss, "needs", ())
    # A correction holds the sampler against them, and a penalty on the reward the reference.
    unread = anchored and not made.objective.corrections and made.penalty is None
    if learner.recompute_logprobs and unread:
        yield (
            f"learner.recompute_logprobs=true with learner.loss={type(loss).__name__}: that loss "
            "takes its ratios from the sampler's log-probs, and a forward pass would serve "
            "diagnostics alone; set it to false"
        )
    dtypes = {"learner.dtype": learner.dtype, "rollout.dtype": run.rollout.dtype}
    narrow = [f"{key}={dtype}" for key, dtype in dtypes.items() if dtype != "float32"]
    if learner.lora is not None and narrow and (anchored or not made.recomputes):
        remedy = (
            f"with learner.loss={type(loss).__name__}, which takes its ratios from the sampler, "
            "take float32 for both"
            if anchored
            else "take learner.recompute_logprobs=true, for ratios against the learner's own "
            "policy, or float32 for both"
        )
        yield (
            f"learner.lora with {' and '.join(narrow)}: the engines sample from merged weights, "
            "in which rounding hides what adapters change by less than half a step, so the "
            f"sampler falls behind the policy that is trained; {remedy}"
        )


def _weighs_the_sampler(loss: object) -> bool:
    capped = isinstance(loss, ReinforceLoss) and loss.weight_cap is not None
    return capped or isinstance(loss, AT_THE_SAMPLER)


def _weights(objective: Objective) -> str:
    """The corrections that weigh tokens, and do not just leave some out."""
    weighing = [c for c in objective.corrections if "proximal" in getattr(c, "needs", ())]
    return ", ".join(type(correction).__name__ for correction in weighing)
