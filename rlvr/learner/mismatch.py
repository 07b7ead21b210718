"""Sampler against learner: the same tokens, and what should be the same weights.

Where the two disagree on-policy, importance ratios are noise and a wrong weight sync, temperature
or tokenisation looks like learning that fails. So it is measured in every step.
"""

from __future__ import annotations

from torch import Tensor

from rlvr.learner.loss import LossInputs, masked, masked_mean
from rlvr.learner.tally import Tally

MEAN = "mismatch/logprob_abs_mean"
TOKENS = "tokens"


class MismatchError(RuntimeError):
    """The learner computes other log-probs than the sampler, from what should be one policy."""


def measure_mismatch(tally: Tally, inputs: LossInputs) -> None:
    """Over the tokens that the step's own weights sampled.

    k3 is the unbiased, never negative estimate r - 1 - log r of the KL divergence from sampler to
    learner, r = exp(learner - sampler) (Schulman, "Approximating KL divergence", 2020).
    """
    fresh_T = inputs.mask_T if inputs.lag_T is None else inputs.mask_T & (inputs.lag_T == 0)
    difference_T = masked(inputs.logprobs_T.detach() - inputs.sampled_logprobs_T, fresh_T)
    tally.add_mean(MEAN, *_pair(difference_T.abs(), fresh_T))
    tally.add_mean("mismatch/k3", *_pair(difference_T.exp() - 1 - difference_T, fresh_T))
    tally.add_max("mismatch/logprob_abs_max", difference_T.abs().max())
    tally.add_sum(TOKENS, inputs.mask_T.sum())


def check_mismatch(tally: Tally, bound: float) -> bool:
    """Hold an on-policy update to ``bound`` (nats). False where it is not all on-policy.

    Raises:
        MismatchError: the mean absolute difference is larger, or not a number.
    """
    total, count = tally.means[MEAN]
    if not count or count < tally.sums[TOKENS]:
        return False
    if not total / count <= bound:
        raise MismatchError(
            f"on-policy, the sampler's and the learner's log-probs differ by {total / count:.3g} "
            f"nats on average (largest {tally.maxima['mismatch/logprob_abs_max']:.3g}), more than "
            f"the bound {bound:.3g}. Likely causes: the engine kept old weights; sampling at "
            "another temperature or with top-p/top-k; log-probs taken before the temperature "
            "(vLLM: logprobs_mode=processed_logprobs); other dtypes on the two sides. If the "
            "dtypes explain it, raise learner.mismatch_bound"
        )
    return True


def _pair(values_T: Tensor, mask_T: Tensor) -> tuple[Tensor, Tensor]:
    mean = masked_mean(values_T, mask_T)
    return mean.total, mean.count
