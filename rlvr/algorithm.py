"""The algorithm of a run: its objective, credit and what these need, built and held together.

Each part checks itself; what only two of them together can know is in ``algorithm_checks``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlvr.algorithm_checks import refusals
from rlvr.config import ConfigError, RunConfig
from rlvr.config_checks import built
from rlvr.credit import Credit, Estimator, Penalty, Scorer
from rlvr.learner.objective import Objective


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
    if refused := list(refusals(run, made)):
        raise ConfigError("\n".join(refused))
    return made


def _each(key: str, nodes: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
    for index, node in enumerate(nodes):
        yield built(f"{key}[{index}]", node)


def _optional(key: str, node: Mapping[str, Any] | None) -> Any:
    return None if node is None else built(key, node)
