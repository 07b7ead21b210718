"""Which sample goes to which rank and into which micro-batch.

Everything is decided for the whole update at once, so that every rank runs the same number of
micro-batches (ZeRO's collectives need that) and all of them are of about the same size.

Names of arrays end in what they are indexed by:
    B  samples     U  samples that stay together
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LAYOUTS = ("padded", "packed")
"""A packed row wants an attention that knows of sequences (flash_attention_2): sdpa computes the
whole square of the row."""

Ints = NDArray[np.int64]


def plan(
    lengths_B: Ints, *, ranks: int, tokens_per_microbatch: int, layout: str, together: int = 1
) -> list[list[Ints]]:
    """For each rank its micro-batches, each as indices of samples; some may be empty.

    The samples, sorted by length, are cut into as few runs as the bound and the number of ranks
    allow, at the smallest largest size. That both balances the ranks and keeps padding low. So
    many neighbours as ``together`` says stay with each other, in their order.

    Raises:
        ValueError: a sample, or those that stay together, are more than ``tokens_per_microbatch``.
    """
    units_UB = lengths_B.reshape(-1, together)
    sizes_U: Ints = units_UB.sum(1) if layout == "packed" else units_UB.max(1) * together
    # Stable, so that the plan is the same wherever it is made.
    order_U = np.argsort(-sizes_U, kind="stable")
    sorted_U = sizes_U[order_U]
    if len(sizes_U) and sorted_U[0] > tokens_per_microbatch:
        what = "a sample" if together == 1 else f"{together} samples that belong together"
        least = "" if together == 1 else f"{together} x "
        raise ValueError(
            f"{what} of {sorted_U[0]} tokens exceeds tokens_per_microbatch="
            f"{tokens_per_microbatch}: raise it to at least {least}"
            "(sampling.max_prompt_tokens + sampling.max_tokens)"
        )
    fewest = len(_cuts(sorted_U, tokens_per_microbatch, layout))
    per_rank = max(1, -(-fewest // ranks))
    low, high = int(sorted_U[0]) if len(sorted_U) else 1, tokens_per_microbatch
    while low < high:
        middle = (low + high) // 2
        if len(_cuts(sorted_U, middle, layout)) <= per_rank * ranks:
            high = middle
        else:
            low = middle + 1
    samples_UB = np.arange(len(lengths_B)).reshape(-1, together)
    runs = [samples_UB[order_U[run]].reshape(-1) for run in _cuts(sorted_U, low, layout)]
    runs += [np.empty(0, np.int64)] * (per_rank * ranks - len(runs))
    return _dealt(runs, lengths_B, ranks, layout)


def size(lengths_B: Ints, layout: str) -> int:
    """Tokens of a micro-batch of samples with these lengths, padding included."""
    if not len(lengths_B):
        return 0
    return int(lengths_B.sum() if layout == "packed" else lengths_B.max() * len(lengths_B))


def _cuts(sorted_B: Ints, limit: int, layout: str) -> list[slice]:
    """Cut lengths, longest first, into the fewest runs that are no larger than ``limit``."""
    cuts: list[slice] = []
    ends_B = np.cumsum(sorted_B)
    start = 0
    while start < len(sorted_B):
        if layout == "packed":
            before = int(ends_B[start] - sorted_B[start])
            stop = int(np.searchsorted(ends_B, before + limit, side="right"))
        else:
            stop = min(len(sorted_B), start + limit // int(sorted_B[start]))
        cuts.append(slice(start, stop))
        start = stop
    return cuts


def _dealt(runs: list[Ints], lengths_B: Ints, ranks: int, layout: str) -> list[list[Ints]]:
    """Deal micro-batches to ranks, largest first, to and fro."""
    runs = sorted(runs, key=lambda run: -size(lengths_B[run], layout))
    dealt: list[list[Ints]] = [[] for _ in range(ranks)]
    for index, run in enumerate(runs):
        turn, place = divmod(index, ranks)
        dealt[place if turn % 2 == 0 else ranks - 1 - place].append(run)
    return dealt
