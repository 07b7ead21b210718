"""From samples to micro-batches: which sample goes to which rank, and what a rank's arrays hold.

Everything is decided for the whole update at once, so that every rank runs the same number of
micro-batches (ZeRO's collectives need that) and all of them are of about the same size.

Names of arrays end in what they are indexed by:
    B  samples     N  prompt and completion tokens, sample after sample     T  completion tokens
    R  rows        S  positions of a row
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rlvr.types import TrainSample, WeightVersion

LAYOUTS = ("padded", "packed")
"""A packed row wants an attention that knows of sequences (flash_attention_2): sdpa computes the
whole square of the row."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """Samples as flat arrays; how they travel to a rank."""

    token_ids_N: NDArray[np.int32]
    prompt_lengths_B: Ints
    completion_lengths_B: Ints
    sampled_logprobs_T: Floats
    fresh_T: Bools
    """Whether the weights that sampled the token are those that the step starts from."""
    advantages_B: Floats
    weights_B: Floats
    """Of each token of the sample; see ``aggregation``."""

    @property
    def lengths_B(self) -> Ints:
        return self.prompt_lengths_B + self.completion_lengths_B


@dataclass(frozen=True, slots=True, kw_only=True)
class RankWork:
    """One rank's part of one optimizer update."""

    sequences: Sequences
    microbatches: tuple[Ints, ...]
    """Indices of each micro-batch's samples; an empty one is run on a dummy that trains nothing."""
    layout: str
    on_policy: bool
    """Whether the weights being trained are still those that the step starts from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """The arrays of one forward and backward pass."""

    token_ids_RS: Ints
    position_ids_RS: Ints | None
    """None where each row is one sequence from position 0."""
    sources_T: Ints
    """Flat index into ``[R, S]`` of the position whose hidden state predicts each token."""
    targets_T: Ints
    sampled_logprobs_T: Floats
    advantages_T: Floats
    weights_T: Floats
    mask_T: Bools
    fresh_T: Bools


def flatten(
    samples: Sequence[TrainSample], weights_B: Floats, *, version: WeightVersion
) -> Sequences:
    """Samples as flat arrays; ``weights_B`` belong to them, ``version`` is that of their batch."""
    rollouts = [sample.rollout for sample in samples]
    ids = [ids for rollout in rollouts for ids in (rollout.prompt_ids, rollout.completion_ids_T)]
    versions_T = _joined([rollout.versions_T for rollout in rollouts], np.int64)
    return Sequences(
        token_ids_N=_joined(ids, np.int32),
        prompt_lengths_B=np.array([len(r.prompt_ids) for r in rollouts], np.int64),
        completion_lengths_B=np.array([len(r.completion_ids_T) for r in rollouts], np.int64),
        sampled_logprobs_T=_joined([r.logprobs_T for r in rollouts], np.float32),
        fresh_T=versions_T == version,
        advantages_B=np.array([sample.advantage for sample in samples], np.float32),
        weights_B=weights_B,
    )


def plan(
    lengths_B: Ints, *, ranks: int, tokens_per_microbatch: int, layout: str
) -> list[list[Ints]]:
    """For each rank its micro-batches, each as indices of samples; some may be empty.

    The samples, sorted by length, are cut into as few runs as the bound and the number of ranks
    allow, at the smallest largest size. That both balances the ranks and keeps padding low.

    Raises:
        ValueError: a sample is longer than ``tokens_per_microbatch``.
    """
    # Stable, so that the plan is the same wherever it is made.
    order_B = np.argsort(-lengths_B, kind="stable")
    sorted_B = lengths_B[order_B]
    if len(lengths_B) and sorted_B[0] > tokens_per_microbatch:
        raise ValueError(
            f"a sample of {sorted_B[0]} tokens exceeds tokens_per_microbatch="
            f"{tokens_per_microbatch}: raise it to at least sampling.max_prompt_tokens + "
            "sampling.max_tokens"
        )
    fewest = len(_cuts(sorted_B, tokens_per_microbatch, layout))
    per_rank = max(1, -(-fewest // ranks))
    low, high = int(sorted_B[0]) if len(sorted_B) else 1, tokens_per_microbatch
    while low < high:
        middle = (low + high) // 2
        if len(_cuts(sorted_B, middle, layout)) <= per_rank * ranks:
            high = middle
        else:
            low = middle + 1
    runs = [order_B[run] for run in _cuts(sorted_B, low, layout)]
    runs += [np.empty(0, np.int64)] * (per_rank * ranks - len(runs))
    return _dealt(runs, lengths_B, ranks, layout)


def work(
    samples: Sequence[TrainSample],
    weights_B: Floats,
    *,
    version: WeightVersion,
    ranks: int,
    tokens_per_microbatch: int,
    layout: str,
    on_policy: bool,
) -> list[RankWork]:
    """What each rank has to do for one optimizer update on these samples."""
    lengths_B = np.array(
        [len(s.rollout.prompt_ids) + len(s.rollout.completion_ids_T) for s in samples], np.int64
    )
    parts: list[RankWork] = []
    for microbatches in plan(
        lengths_B, ranks=ranks, tokens_per_microbatch=tokens_per_microbatch, layout=layout
    ):
        mine: Ints = np.concatenate(microbatches)
        ends = np.cumsum([len(microbatch) for microbatch in microbatches])
        parts.append(
            RankWork(
                sequences=flatten(
                    [samples[int(i)] for i in mine], weights_B[mine], version=version
                ),
                microbatches=tuple(np.split(np.arange(len(mine)), ends[:-1])),
                layout=layout,
                on_policy=on_policy,
            )
        )
    return parts


def collate(sequences: Sequences, samples_B: Ints, *, layout: str) -> MicroBatch:
    """The arrays of one micro-batch, for these samples in this order."""
    if not len(samples_B):
        return _dummy()
    prompts_B = sequences.prompt_lengths_B[samples_B]
    completions_B = sequences.completion_lengths_B[samples_B]
    lengths_B = prompts_B + completions_B
    from_N = _ranges(_starts(sequences.lengths_B)[samples_B], lengths_B)
    from_T = _ranges(_starts(sequences.completion_lengths_B)[samples_B], completions_B)
    ids_N = sequences.token_ids_N[from_N].astype(np.int64)

    position_ids_RS: Ints | None = None
    if layout == "packed":
        row_starts_B = _starts(lengths_B)
        token_ids_RS = ids_N[None]
        position_ids_RS = _ranges(np.zeros_like(lengths_B), lengths_B)[None]
    else:
        width = int(lengths_B.max())
        row_starts_B = np.arange(len(lengths_B)) * width
        token_ids_RS = np.zeros((len(lengths_B), width), np.int64)
        token_ids_RS.reshape(-1)[_ranges(row_starts_B, lengths_B)] = ids_N
    # A token is predicted at the position before it.
    sources_T = _ranges(row_starts_B + prompts_B - 1, completions_B)
    return MicroBatch(
        token_ids_RS=token_ids_RS,
        position_ids_RS=position_ids_RS,
        sources_T=sources_T,
        targets_T=token_ids_RS.reshape(-1)[sources_T + 1],
        sampled_logprobs_T=sequences.sampled_logprobs_T[from_T],
        advantages_T=np.repeat(sequences.advantages_B[samples_B], completions_B),
        weights_T=np.repeat(sequences.weights_B[samples_B], completions_B),
        mask_T=np.ones(len(from_T), np.bool_),
        fresh_T=sequences.fresh_T[from_T],
    )


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


def _dummy() -> MicroBatch:
    """One token that does not train: it keeps a rank in step with the others."""
    return MicroBatch(
        token_ids_RS=np.zeros((1, 2), np.int64),
        position_ids_RS=None,
        sources_T=np.zeros(1, np.int64),
        targets_T=np.zeros(1, np.int64),
        sampled_logprobs_T=np.zeros(1, np.float32),
        advantages_T=np.zeros(1, np.float32),
        weights_T=np.zeros(1, np.float32),
        mask_T=np.zeros(1, np.bool_),
        fresh_T=np.zeros(1, np.bool_),
    )


def _joined(parts: Sequence[Sequence[float]], dtype: type[Number]) -> NDArray[Number]:
    if not parts:
        return np.empty(0, dtype)
    return np.concatenate([np.array(part, dtype) for part in parts])


def _starts(lengths_B: Ints) -> Ints:
    return np.cumsum(lengths_B) - lengths_B


def _ranges(starts_B: Ints, lengths_B: Ints) -> Ints:
    """``[start, start + length)`` of each, one after the other."""
    shifts: Ints = np.repeat(starts_B - _starts(lengths_B), lengths_B)
    return shifts + np.arange(lengths_B.sum(), dtype=np.int64)
