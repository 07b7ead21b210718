"""Numbers of a batch, brought to mean 0 and variance 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlvr.ragged import Floats, joined

VARIANCE_FLOOR = 1e-8
"""Added to the variance, so that differences far below 1e-4 stay small instead of becoming 1."""


def whitened(
    rows: Sequence[Sequence[float]], counts: Sequence[Sequence[int]] | None = None
) -> list[list[float]]:
    """``(x - mean) / sqrt(var + 1e-8)`` over all numbers of all rows, in the shape of ``rows``.

    ``var`` is unbiased. A number that stands for several tokens counts as often as ``counts``, of
    the same shape, says (once by default). Zeros where all numbers are equal, or there is only one.

    Raises:
        ValueError: ``counts`` has another shape.
    """
    numbers_N, lengths_R = joined(rows)
    counts_N: Floats | None = None
    if counts is not None:
        counts_N, counted_R = joined(counts)
        if counted_R.tolist() != lengths_R.tolist():
            raise ValueError(
                f"counts of {counted_R.tolist()} numbers for rows of {lengths_R.tolist()}: give "
                "each number one"
            )
    white = iter(whitened_array(numbers_N, counts_N).tolist())
    return [[next(white) for _ in row] for row in rows]


def whitened_array(numbers_N: Floats, counts_N: Floats | None = None) -> Floats:
    """``whitened``, of one array."""
    if len(numbers_N) < 2 or numbers_N.min() == numbers_N.max():
        return np.zeros(len(numbers_N))
    if counts_N is None:
        counts_N = np.ones(len(numbers_N))
    total = counts_N.sum()
    centred_N = numbers_N - (numbers_N * counts_N).sum() / total
    variance = (centred_N**2 * counts_N).sum() / (total - 1)
    return centred_N * (1 / np.sqrt(variance + VARIANCE_FLOOR))
