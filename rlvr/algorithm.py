"""The algorithm of a run: its objective, credit and what these need, built and held together.

Each part checks itself. Here is what only two of them together can know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlvr.advantages.base import PairSelection, TokenAdvantage
from rlvr.advantages.dr_grpo import DrGrpo
from rlvr.advantages.gdpo import Gdpo
from rlvr.advantages.gpg import Gpg
from rlvr.advantages.pass_at_k import PassAtK
from rlvr.config import ConfigError, RunConfig
from rlvr.config_checks import built
from rlvr.credit import Credit, Estimator, Penalty, Scorer
from rlvr.learner.losses.decoupled import Decoupled
from rlvr.learner.losses.dppo import DppoKl, DppoTv
from rlvr.learner.losses.nft import Nft
from rlvr.learner.losses.prime_rl import PrimeRl
from rlvr.learner.losses.topr import TokenTopr, Topr
from rlvr.learner.losses.vespo import Vespo
from rlvr.learner.objective import Objective

AT_THE_SAMPLER = (Topr, TokenTopr, Vespo, DppoTv, DppoKl, PrimeRl, Decoupled)
"""Losses with an importance weight of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    objective: Objective
    estimator: Estimator
    penalty: Penalty | None
    probe: Any | None
    has_critic: bool
    needs_reference: bool
    mask_truncated: bool
    recomputes: bool
    """Whether ratios are against the learner's own log-probs before the step's first update."""

    @property
    def scores(self) -> bool:
        """Whether the learner is asked about a step's tokens before it trains on them."""
        return self.has_critic or self.needs_reference or self.recomputes

    def credit(self, scorer: Scorer) -> Credit:
        return Credit(
            estimator=self.estimator,
            scorer=scorer if self.scores else None,
            penalty=self.penalty,
            mask_truncated=self.mask_truncated,
        )


def algorithm(run: RunConfig) -> Algorithm:
    """Build the parts that a run's settings name.

    Raises:
        ConfigError: one of them refuses its settings, or two do not go together.
    """
    learner = run.learner
    objective = Objective(
        loss=built("learner.loss", learner.loss),
        terms=tuple(_each("learner.terms", learner.terms)),
        corrections=tuple(_each("learner.corrections", learner.corrections)),
    )
    made = Algorithm(
        objective=objective,
        estimator=built("advantage", run.advantage),
        penalty=_optional("reward_kl", run.reward_kl),
        probe=_optional("probe", run.probe),
        has_critic=learner.critic is not None,
        needs_reference="reference" in objective.needs or run.reward_kl is not None,
        mask_truncated=run.mask_truncated,
        recomputes=learner.recompute_logprobs or "proximal" in objective.needs,
    )
    if refused := list(_refused(run, made)):
        raise ConfigError("\n".join(refused))
    return made


def _weights(objective: Objective) -> str:
    """The corrections that weigh tokens, and do not just leave some out."""
    weighing = [c for c in objective.corrections if "proximal" in getattr(c, "needs", ())]
    return ", ".join(type(correction).__name__ for correction in weighing)


def _each(key: str, nodes: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
    for index, node in enumerate(nodes):
        yield built(f"{key}[{index}]", node)


def _optional(key: str, node: Mapping[str, Any] | None) -> Any:
    return None if node is None else built(key, node)


def _refused(run: RunConfig, made: Algorithm) -> Iterator[str]:
    yield from _unmet(run, made)
    yield from _mismatched(run, made)


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


def _mismatched(run: RunConfig, made: Algorithm) -> Iterator[str]:
    """Parts that are right by themselves and wrong together."""
    estimator, name = made.estimator, type(made.estimator).__name__
    loss, loss_name = made.objective.loss, type(made.objective.loss).__name__
    selects = isinstance(estimator, PairSelection)
    if selects != made.objective.pairs:
        wrong = "compares pairs" if made.objective.pairs else "trains single rollouts"
        yield (
            f"learner.loss={loss_name} {wrong} and advantage={name} gives "
            f"{'pairs' if selects else 'each rollout its own credit'}: take "
            "rlvr.advantages.pairs.CorrectVersusWrong with a loss of rlvr.learner.losses.dpo, or "
            "neither"
        )
    if isinstance(estimator, PassAtK) and estimator.k >= run.rollouts_per_problem:
        yield (
            f"advantage.k={estimator.k} with rollouts_per_problem={run.rollouts_per_problem}: "
            "every choice of k holds the best rollout, so all advantages are 0; take a smaller k"
        )
    if isinstance(loss, AT_THE_SAMPLER) and (twice := _weights(made.objective)):
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
    if made.objective.pairs and run.learner.aggregation != "seq-mean-token-sum":
        yield (
            f"learner.aggregation={run.learner.aggregation} with {loss_name}: pairs are to count "
            "alike, whatever their lengths; take seq-mean-token-sum"
        )
