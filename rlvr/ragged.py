"""Rows of different lengths, such as the tokens of a batch's completions, as one array.

Names of arrays end in what they are indexed by:
    R  rows     N  numbers of all rows, row after row
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def joined(rows: Sequence[Sequence[float]]) -> tuple[Floats, Ints]:
    """The numbers of all rows, and how many each row has."""
    lengths_R = np.array([len(row) for row in rows], np.int64)
    arrays = [np.asarray(row, np.float64) for row in rows]
    return np.concatenate([np.empty(0), *arrays]), lengths_R


def cut(numbers_N: Floats, lengths_R: Ints) -> list[array[float]]:
    """The rows again: as compact as an array, and no package is needed to read them."""
    ends_R = np.cumsum(lengths_R)
    return [
        array("d", numbers_N[start:end].tobytes())
        for start, end in zip((ends_R - lengths_R).tolist(), ends_R.tolist(), strict=True)
    ]


def sums(numbers_N: Floats, lengths_R: Ints) -> Floats:
    """Of each row; 0 of an empty one."""
    rows_N = np.repeat(np.arange(len(lengths_R)), lengths_R)
    totals_R = np.bincount(rows_N, weights=numbers_N, minlength=len(lengths_R))
    return totals_R.astype(np.float64, copy=False)


def to_go(numbers_N: Floats, lengths_R: Ints, factors_R: Floats) -> Floats:
    """``y_t = x_t + w y_{t+1}`` in each row with its own ``w``; nothing follows a row's last."""
    order_R = np.argsort(-lengths_R, kind="stable")
    ranks_R = np.empty_like(order_R)
    ranks_R[order_R] = np.arange(len(order_R))
    following_N = np.repeat(np.cumsum(lengths_R), lengths_R) - np.arange(len(numbers_N)) - 1
    # As many numbers follow one as its step says. Laid out step by step, the longest row first in
    # each, the rows that reach the next step are the first ones of this: one slice, no padding.
    counts = np.bincount(following_N)
    starts = np.cumsum(counts) - counts
    places_N = starts[following_N] + np.repeat(ranks_R, lengths_R)
    laid_N = np.empty(len(numbers_N))
    laid_N[places_N] = numbers_N
    factors_R = factors_R[order_R]
    steps = zip(starts[:-1].tolist(), starts[1:].tolist(), counts[1:].tolist(), strict=True)
    for before, start, count in steps:
        laid_N[start : start + count] += factors_R[:count] * laid_N[before : before + count]
    return laid_N[places_N]
