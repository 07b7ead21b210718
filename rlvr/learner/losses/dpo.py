"""Preference of the better of two answers to a problem over the worse one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from rlvr.learner.importance import log_ratios, ratio_metrics
from rlvr.learner.loss import LossInputs, LossOutput, Mean, masked
from rlvr.learner.sequences import Sequences


@dataclass(frozen=True, slots=True, kw_only=True)
class Dpo:
    """DPO (arXiv:2305.18290); with ``label_smoothing`` conservative DPO.

    With d = log p(sequence) - log reference p(sequence) and m = beta (d of the better - d of the
    worse one), a pair's loss is -(1 - s) log sigmoid(m) - s log sigmoid(-m), s the smoothing. A
    pair's weight is the sum of its two sequences', a sequence's the mean of its tokens': a
    sequence mean of token sums makes it a mean over pairs.

    Raises:
        ValueError: the inputs have no reference log-probs, or an odd number of sequences.
    """

    whole_sequences: ClassVar[bool] = True
    pairs: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    beta: float = 0.1
    """How hard it holds to the reference (1 per nat)."""
    label_smoothing: float = 0.0
    """How often the pairs are taken to be the wrong way round."""

    def __post_init__(self) -> None:
        _check_beta(self.beta)
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(
                f"label_smoothing={self.label_smoothing}: from 0.5 on the worse answer would be "
                "preferred; take at least 0 and less than 0.5 (0 is usual)"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        pairs = Pairs(inputs)
        moved_B = pairs.sequences.sums(_from_reference(inputs))
        margins_P = self.beta * pairs.differences(moved_B)
        right_P, wrong_P = logsigmoid(margins_P), logsigmoid(-margins_P)
        losses_P = -(1 - self.label_smoothing) * right_P - self.label_smoothing * wrong_P
        return pairs.output(losses_P, margins_P)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipo:
    """IPO (arXiv:2310.12036): a margin to reach and to stay at, where DPO's grows without end.

    With d the mean over a sequence's tokens of logprob - reference logprob, a pair's loss is
    (d of the better - d of the worse one - 1 / (2 beta))^2. Weights as in ``Dpo``.

    Raises:
        ValueError: the inputs have no reference log-probs, or an odd number of sequences.
    """

    whole_sequences: ClassVar[bool] = True
    pairs: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    beta: float = 0.1
    """The paper's tau (1 per nat)."""
    length_normalized: bool = True
    """A sum in place of the mean, as the paper is written, asks long answers for no more than
    short ones; its authors took the mean, as TRL notes."""

    def __post_init__(self) -> None:
        _check_beta(self.beta)

    def __call__(self, inputs: LossInputs) -> LossOutput:
        pairs = Pairs(inputs)
        reduce = pairs.sequences.means if self.length_normalized else pairs.sequences.sums
        distances_P = pairs.differences(reduce(_from_reference(inputs)))
        losses_P = (distances_P - 1 / (2 * self.beta)).square()
        return pairs.output(losses_P, self.beta * distances_P)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimPo:
    """SimPO (arXiv:2405.14734): DPO without a reference, on the mean log-prob of a token.

    With l the mean over a sequence's tokens of logprob, a pair's loss is
    -log sigmoid(beta (l of the better - l of the worse one) - gamma). Weights as in ``Dpo``.

    Raises:
        ValueError: the inputs have an odd number of sequences.
    """

    whole_sequences: ClassVar[bool] = True
    pairs: ClassVar[bool] = True

    beta: float = 2.0
    """Of the mean log-prob (1 per nat), so larger than DPO's."""
    gamma: float = 0.5
    """The margin to reach."""

    def __post_init__(self) -> None:
        _check_beta(self.beta)
        if not 0 <= self.gamma < math.inf:
            raise ValueError(
                f"gamma={self.gamma}: a margin below 0 is reached by preferring the worse answer; "
                "take 0 or more (0.3 to 1.6 is usual)"
            )

    def __call__(self, inputs: LossInputs) -> LossOutput:
        pairs = Pairs(inputs)
        means_B = pairs.sequences.means(masked(inputs.logprobs_T, inputs.mask_T))
        margins_P = self.beta * pairs.differences(means_B)
        return pairs.output(-logsigmoid(margins_P - self.gamma), margins_P)


class Pairs:
    """Sequences 2i and 2i + 1 side by side. P indexes pairs.

    A pair of which a sequence has no token that trains is no comparison: its weight is 0.

    Raises:
        ValueError: an odd number of sequences.
    """

    def __init__(self, inputs: LossInputs) -> None:
        self.sequences = Sequences(inputs)
        if self.sequences.count % 2:
            raise ValueError(
                f"{self.sequences.count} sequences: this loss compares sequences 2i and 2i + 1; "
                "give both of every pair"
            )
        self._inputs = inputs
        self._whole_P = self.sequences.trains_B[0::2] & self.sequences.trains_B[1::2]

    def differences(self, values_B: Tensor) -> Tensor:
        """``[P]``: the better one's value minus the worse one's."""
        return values_B[0::2] - values_B[1::2]

    def output(self, losses_P: Tensor, margins_P: Tensor) -> LossOutput:
        weights_B = self.sequences.means(masked(self._inputs.weights_T, self._inputs.mask_T))
        weights_P = masked(weights_B[0::2] + weights_B[1::2], self._whole_P)
        margins_P = masked(margins_P.detach(), self._whole_P)
        count = self._whole_P.sum()
        metrics = {
            **ratio_metrics(self._inputs, log_ratios(self._inputs)),
            "actor/rewards/margins": Mean(margins_P.sum(), count),
            "actor/rewards/accuracies": Mean((margins_P > 0).sum(), count),
        }
        return LossOutput(loss=(losses_P * weights_P).sum(), metrics=metrics)


def _from_reference(inputs: LossInputs) -> Tensor:
    if inputs.reference_logprobs_T is None:
        raise ValueError(
            "reference_logprobs_T=None: this loss compares with the reference policy; give each "
            "token's log-prob under it, or take SimPo"
        )
    return masked(inputs.logprobs_T - inputs.reference_logprobs_T, inputs.mask_T)


def _check_beta(beta: float) -> None:
    if not 0 < beta < math.inf:
        raise ValueError(
            f"beta={beta}: at 0 or less nothing would be learnt, or the worse answer; take a "
            "number above 0 (0.1 is usual, 2 without a reference)"
        )
