"""How much each token counts in the loss, decided over the whole update before it is sharded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

AGGREGATIONS = (
    "token-mean",
    "seq-mean-token-mean",
    "seq-mean-token-sum",
    "seq-mean-token-sum-norm",
    "token-sum",
)


def token_weights(
    lengths_B: Sequence[int] | NDArray[np.integer], aggregation: str, *, max_tokens: int
) -> NDArray[np.float64]:
    """Weight ``[B]`` of each token of each sample: all of them times their losses add up to the
    update's loss. ``lengths_B`` are the completion lengths of every sample of the update, on all
    ranks.

    With N tokens in B samples, a token of a sample of length L counts
    1/N (``token-mean``, arXiv:2503.14476), 1/(B L) (``seq-mean-token-mean``, arXiv:2402.03300),
    1/B (``seq-mean-token-sum``), 1/(B max_tokens) (``seq-mean-token-sum-norm``, arXiv:2503.20783)
    or 1 (``token-sum``, arXiv:2506.18330 and prime-rl), with which loss and gradient grow with the
    batch.

    Raises:
        ValueError: an unknown aggregation, or a length or ``max_tokens`` below 1.
    """
    lengths = np.asarray(lengths_B, np.float64)
    samples = len(lengths)
    if not (lengths >= 1).all():
        raise ValueError(
            f"lengths_B={lengths.min()}: a sample of no tokens has no share in a mean; leave it "
            "out, as a completion has at least 1"
        )
    if not max_tokens >= 1:
        raise ValueError(f"max_tokens={max_tokens}: it divides a loss; take 1 or more")
    if aggregation == "token-mean":
        divisors = np.full(samples, lengths.sum())
    elif aggregation == "seq-mean-token-mean":
        divisors = samples * lengths
    elif aggregation == "seq-mean-token-sum":
        divisors = np.full(samples, samples, np.float64)
    elif aggregation == "seq-mean-token-sum-norm":
        divisors = np.full(samples, samples * max_tokens, np.float64)
    elif aggregation == "token-sum":
        divisors = np.ones(samples)
    else:
        raise ValueError(f"aggregation={aggregation!r}: take one of {', '.join(AGGREGATIONS)}")
    return 1.0 / divisors
