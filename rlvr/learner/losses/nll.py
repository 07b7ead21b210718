"""Likelihood of the answers that did well: expert iteration."""

from __future__ import annotations

from dataclasses import dataclass

from rlvr.learner.importance import log_ratios, ratio_metrics
from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class PositiveNll:
    """-logprob of each token whose advantage is positive, and nothing of the others: rejection
    sampling fine-tuning (arXiv:2308.01825) and the step of ReST-EM (arXiv:2312.06585).

    Tokens without a positive advantage still count in the aggregation's denominator. A group that
    is right throughout has no positive advantage under a group baseline, so it teaches nothing.
    """

    by_advantage: bool = False
    """Times the advantage: the positive half of REINFORCE, in which rare answers count more."""

    def __call__(self, inputs: LossInputs) -> LossOutput:
        mask_T = inputs.mask_T
        advantages_T = masked(inputs.advantages_T, mask_T)
        weights_T = masked(inputs.weights_T, mask_T)
        nll_T = -masked(inputs.logprobs_T, mask_T)
        positive_T = advantages_T > 0
        factor_T = advantages_T.clamp(min=0) if self.by_advantage else positive_T.to(nll_T.dtype)
        metrics = ratio_metrics(inputs, log_ratios(inputs))
        metrics["actor/nll"] = masked_mean(nll_T, positive_T)
        metrics["actor/positive_share"] = masked_mean(positive_T, mask_T)
        return LossOutput(loss=(factor_T * nll_T * weights_T).sum(), metrics=metrics)
