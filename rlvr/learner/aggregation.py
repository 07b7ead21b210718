"""How much each token counts in the loss, decided over the whole update before it is sharded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AGGREGATIONS = (
    "token-mean",
    "seq-mean-token-mean",
    "seq-mean-token-sum",
    "seq-mean-token-sum-norm",
)


def token_weights(
    lengths_B: NDArray[np.int64], aggregation: str, *, max_tokens: int
) -> NDArray[np.float32]:
    """Weight ``[B]`` of each token of each sample: all of them times their losses add up to the
    update's loss. ``lengths_B`` are the completion lengths of every sample of the update, on all
    ranks.

    With N tokens in B samples, a token of a sample of length L counts
    1/N (``token-mean``, arXiv:2503.14476), 1/(B L) (``seq-mean-token-mean``, arXiv:2402.03300),
    1/B (``seq-mean-token-sum``) or 1/(B max_tokens) (``seq-mean-token-sum-norm``,
    arXiv:2503.20783).

    Raises:
        ValueError: an unknown aggregation.
    """
    lengths = lengths_B.astype(np.float64)
    samples = len(lengths)
    if aggregation == "token-mean":
        weights = np.full(samples, 1.0 / lengths.sum())
    elif aggregation == "seq-mean-token-mean":
        weights = 1.0 / (samples * lengths)
    elif aggregation == "seq-mean-token-sum":
        weights = np.full(samples, 1.0 / samples)
    elif aggregation == "seq-mean-token-sum-norm":
        weights = np.full(samples, 1.0 / (samples * max_tokens))
    else:
        raise ValueError(f"aggregation={aggregation!r}: take one of {', '.join(AGGREGATIONS)}")
    return weights.astype(np.float32)
