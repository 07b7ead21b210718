"""Likelihood of the answers that did well: expert iteration."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from rlvr.learner.importance import log_ratios, ratio_metrics
from rlvr.learner.loss import LossInputs, LossOutput, masked, masked_mean

OF = ("advantage", "correct")


@dataclass(frozen=True, slots=True, kw_only=True)
class PositiveNll:
    """-logprob of each token that did well, and nothing of the others: rejection sampling
    fine-tuning (arXiv:2308.01825), the step of ReST-EM (arXiv:2312.06585), and with ``coef`` the
    term that VAPO (arXiv:2504.05118) has beside its policy loss.

    A token did well where its advantage is positive; the others still count in the aggregation's
    denominator. A group that is right throughout has no positive advantage under a group baseline,
    so it teaches nothing. Or it did well where its sample is correct, whatever the rest of the
    group; the denominator then is that of the correct samples alone.

    Raises:
        ValueError: the inputs do not say which samples are correct, where that is asked for.
    """

    of: str = "advantage"
    """``advantage``, or ``correct``: by the verifier."""
    by_advantage: bool = False
    """Times the advantage: the positive half of REINFORCE, in which rare answers count more."""
    coef: float = 1.0
    """Times this; 0.1 in VAPO."""

    def __post_init__(self) -> None:
        if self.of not in OF:
            raise ValueError(f"of={self.of!r}: take one of {', '.join(OF)}")
        if self.by_advantage and self.of == "correct":
            raise ValueError(
                "by_advantage=True with of='correct': a correct answer may have an advantage of 0 "
                "or less, and would be unlearnt; take of='advantage', or by_advantage=False"
            )
        if not 0 <= self.coef < math.inf:
            raise ValueError(
                f"coef={self.coef}: below 0 what did well would become less likely; take 0 or "
                "more (1 alone, 0.1 beside a policy loss)"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        mask_T = inputs.mask_T
        nll_T = -masked(inputs.logprobs_T, mask_T)
        weights_T = self._weights(inputs)
        advantages_T = masked(inputs.advantages_T, mask_T)
        well_T = advantages_T > 0 if self.of == "advantage" else weights_T > 0
        factor_T = advantages_T.clamp(min=0) if self.by_advantage else well_T.to(nll_T.dtype)
        metrics = ratio_metrics(inputs, log_ratios(inputs))
        metrics["actor/nll"] = masked_mean(nll_T, well_T)
        metrics["actor/positive_share"] = masked_mean(well_T, mask_T)
        return LossOutput(loss=self.coef * (factor_T * nll_T * weights_T).sum(), metrics=metrics)

    def _weights(self, inputs: LossInputs) -> Tensor:
        if self.of == "advantage":
            return masked(inputs.weights_T, inputs.mask_T)
        if inputs.correct_weights_T is None:
            raise ValueError(
                "correct_weights_T=None: nothing says which samples are correct; give each token's "
                "weight among these (1/N over their N tokens, 0 elsewhere), or take of='advantage'"
            )
        return masked(inputs.correct_weights_T, inputs.mask_T)
