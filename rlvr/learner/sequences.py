"""Sums and means over the sequences that tokens belong to."""

from __future__ import annotations

from torch import Tensor

from rlvr.learner.loss import LossInputs, masked


class Sequences:
    """The sequences of some tokens; masked tokens belong to none of the sums.

    Raises:
        ValueError: nothing says which sequence a token belongs to.
    """

    def __init__(self, inputs: LossInputs) -> None:
        if inputs.sequence_T is None:
            raise ValueError(
                "sequence_T=None: this loss works on whole sequences; give the index of each "
                "token's sequence, such as tensor([0, 0, 0, 1, 1])"
            )
        self.index_T = inputs.sequence_T
        self._mask_T = inputs.mask_T
        self.count = _count(self.index_T) if inputs.sequences is None else inputs.sequences
        self.lengths_B = self.sums(inputs.mask_T.to(inputs.weights_T.dtype))
        """Tokens that train; 0 for a sequence that has none."""

    def sums(self, values_T: Tensor) -> Tensor:
        """``[B]``, differentiable."""
        values_T = masked(values_T, self._mask_T)
        return values_T.new_zeros(self.count).index_add(0, self.index_T, values_T)

    def means(self, values_T: Tensor) -> Tensor:
        """``[B]``, differentiable; 0 for a sequence without tokens that train."""
        return self.sums(values_T) / self.lengths_B.clamp(min=1)

    def spread(self, values_B: Tensor) -> Tensor:
        """``[T]``: each token gets its sequence's value."""
        return values_B.index_select(0, self.index_T)

    @property
    def trains_B(self) -> Tensor:
        """Bool ``[B]``: whether any token of the sequence trains."""
        return self.lengths_B > 0


def _count(index_T: Tensor) -> int:
    return int(index_T.max()) + 1 if index_T.numel() else 0
