"""Numbers of a batch, brought to mean 0 and variance 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

VARIANCE_FLOOR = 1e-8
"""Added to the variance, so that differences far below 1e-4 stay small instead of becoming 1."""


def whitened(
    rows: Sequence[Sequence[float]], counts: Sequence[Sequence[int]] | None = None
) -> list[list[float]]:
    """``(x - mean) / sqrt(var + 1e-8)`` over all numbers of all rows, in the shape of ``rows``.

    ``var`` is unbiased. A number that stands for several tokens counts as often as ``counts``, of
    the same shape, says (once by default). Zeros where all numbers are equal, or there is only one.
    """
    if counts is None:
        counts = [[1] * len(row) for row in rows]
    pairs = [
        (value, count)
        for row, row_counts in zip(rows, counts, strict=True)
        for value, count in zip(row, row_counts, strict=True)
    ]
    if len(pairs) < 2 or min(pairs)[0] == max(pairs)[0]:
        return [[0.0] * len(row) for row in rows]
    total = sum(count for _, count in pairs)
    mean = math.fsum(value * count for value, count in pairs) / total
    variance = math.fsum((value - mean) ** 2 * count for value, count in pairs) / (total - 1)
    scale = 1 / math.sqrt(variance + VARIANCE_FLOOR)
    return [[(value - mean) * scale for value in row] for row in rows]
