"""REINFORCE on the steps of whole sequences, with a quadratic pull to the reference policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlvr.learner.importance import log_ratios, ratio_metrics
from rlvr.learner.loss import LossInputs, LossOutput, masked
from rlvr.learner.losses.kimi import check_tau, pulled_score_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class BcpgNsa:
    """BCPG-NSA (arXiv:2505.14403): learns offline from what was right in wrong answers.

    With y a sequence of L tokens, A_t = beta_t (r - mean r) and the sum over its tokens, its loss
    is (1 / L) [-sum A_t logprob_t + tau / 2 (log p(y) - log reference p(y))^2] under the
    aggregation ``seq-mean-token-mean``. The step weights beta_t stand in the advantages already:
    0.5 on the correct steps of an incorrect answer, else 1 (1 throughout is BCPG); the function
    ``step_weighted`` of rlvr.advantages.bcpg makes them of a judge's labels.

    Raises:
        ValueError: the inputs have no reference log-probs.
    """

    whole_sequences: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    tau: float = 1e-3
    """How hard it pulls (reward per nat)."""

    def __post_init__(self) -> None:
        check_tau(self.tau)

    def __call__(self, inputs: LossInputs) -> LossOutput:
        if inputs.reference_logprobs_T is None:
            raise ValueError(
                "reference_logprobs_T=None: BcpgNsa pulls towards the reference policy; give each "
                "token's log-prob under it"
            )
        distance_T = masked(inputs.logprobs_T - inputs.reference_logprobs_T, inputs.mask_T)
        return LossOutput(
            loss=pulled_score_loss(inputs, distance_T, self.tau),
            metrics=ratio_metrics(inputs, log_ratios(inputs)),
        )
