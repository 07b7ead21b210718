"""From samples to micro-batches: what the arrays of a rank and of a forward pass hold.

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

from rlvr.learner.planning import plan
from rlvr.types import TokenScores, TrainSample, WeightVersion

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
    temperatures_B: Floats
    lag_T: Ints
    """Optimizer steps between the weights that sampled the token and those of the step's start."""
    advantages_T: Floats
    weights_B: Floats
    """Of each token of the sample; see ``aggregation``."""
    correct_weights_B: Floats
    """The same over the correct samples alone; 0 for the others."""
    trains_B: Bools
    proximal_logprobs_T: Floats | None = None
    reference_logprobs_T: Floats | None = None
    values_T: Floats | None = None
    returns_T: Floats | None = None

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
    samples_B: Ints
    """Which of the update's samples these are."""


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
    correct_weights_T: Floats
    mask_T: Bools
    sequence_T: Ints
    temperature_T: Floats
    lag_T: Ints
    proximal_logprobs_T: Floats | None = None
    reference_logprobs_T: Floats | None = None
    values_T: Floats | None = None
    returns_T: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """Samples and how much each of their tokens counts; see ``aggregation``."""

    samples: Sequence[TrainSample]
    weights_B: Floats
    correct_weights_B: Floats
    """Over the correct samples alone."""

    def pick(self, samples_B: Ints) -> Weighted:
        return Weighted(
            samples=[self.samples[int(i)] for i in samples_B],
            weights_B=self.weights_B[samples_B],
            correct_weights_B=self.correct_weights_B[samples_B],
        )


def columns_of(samples: Sequence[TrainSample]) -> frozenset[str]:
    """Those optional arrays of ``Sequences`` that every one of the samples has numbers for."""
    if not samples:
        return frozenset()
    there = [_optional(sample) for sample in samples]
    return frozenset(n for n in there[0] if all(columns[n] is not None for columns in there))


def flatten(
    weighted: Weighted, *, version: WeightVersion, columns: frozenset[str] | None = None
) -> Sequences:
    """Samples as flat arrays; ``version`` is that of their batch.

    Where these are only a part of an update's samples, perhaps an empty one, ``columns`` are the
    ``columns_of`` the whole.

    Raises:
        ValueError: a sample was not drawn at a temperature above 0.
    """
    samples = weighted.samples
    if greedy := [s.rollout.temperature for s in samples if not s.rollout.temperature > 0]:
        raise ValueError(
            f"temperature={greedy[0]}: a greedy policy has no gradient; train on samples that were "
            "drawn at a temperature above 0, such as 1.0"
        )
    rollouts = [sample.rollout for sample in samples]
    ids = [ids for rollout in rollouts for ids in (rollout.prompt_ids, rollout.completion_ids_T)]
    versions_T = _joined([rollout.versions_T for rollout in rollouts], np.int64)
    present = columns_of(samples) if columns is None else columns
    there = [_optional(sample) for sample in samples]

    def optional(name: str) -> Floats | None:
        rows = [row for columns in there if (row := columns[name]) is not None]
        return _joined(rows, np.float32) if name in present else None

    return Sequences(
        token_ids_N=_joined(ids, np.int32),
        prompt_lengths_B=np.array([len(r.prompt_ids) for r in rollouts], np.int64),
        completion_lengths_B=np.array([len(r.completion_ids_T) for r in rollouts], np.int64),
        sampled_logprobs_T=_joined([r.logprobs_T for r in rollouts], np.float32),
        temperatures_B=np.array([rollout.temperature for rollout in rollouts], np.float32),
        lag_T=version - versions_T,
        advantages_T=_joined([_advantages(sample) for sample in samples], np.float32),
        weights_B=weighted.weights_B,
        correct_weights_B=weighted.correct_weights_B,
        trains_B=np.array([sample.trains for sample in samples], np.bool_),
        proximal_logprobs_T=optional("proximal_logprobs_T"),
        reference_logprobs_T=optional("reference_logprobs_T"),
        values_T=optional("values_T"),
        returns_T=optional("returns_T"),
    )


def work(
    weighted: Weighted,
    *,
    version: WeightVersion,
    ranks: int,
    tokens_per_microbatch: int,
    layout: str,
    on_policy: bool,
    together: int = 1,
) -> list[RankWork]:
    """What each rank has to do for one optimizer update on these samples."""
    rollouts = [sample.rollout for sample in weighted.samples]
    lengths_B = np.array([len(r.prompt_ids) + len(r.completion_ids_T) for r in rollouts], np.int64)
    # A rank without samples has to hand its models the same arrays as the others.
    columns = columns_of(weighted.samples)
    parts: list[RankWork] = []
    for microbatches in plan(
        lengths_B,
        ranks=ranks,
        tokens_per_microbatch=tokens_per_microbatch,
        layout=layout,
        together=together,
    ):
        mine: Ints = np.concatenate(microbatches)
        ends = np.cumsum([len(microbatch) for microbatch in microbatches])
        parts.append(
            RankWork(
                sequences=flatten(weighted.pick(mine), version=version, columns=columns),
                microbatches=tuple(np.split(np.arange(len(mine)), ends[:-1])),
                layout=layout,
                on_policy=on_policy,
                samples_B=mine,
            )
        )
    return parts


def collate(sequences: Sequences, samples_B: Ints, *, layout: str) -> MicroBatch:
    """The arrays of one micro-batch, for these samples in this order."""
    if not len(samples_B):
        return _dummy(sequences)
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

    def picked(values_T: NDArray[Number] | None) -> NDArray[Number] | None:
        return None if values_T is None else values_T[from_T]

    return MicroBatch(
        token_ids_RS=token_ids_RS,
        position_ids_RS=position_ids_RS,
        sources_T=sources_T,
        targets_T=token_ids_RS.reshape(-1)[sources_T + 1],
        sampled_logprobs_T=sequences.sampled_logprobs_T[from_T],
        advantages_T=sequences.advantages_T[from_T],
        weights_T=np.repeat(sequences.weights_B[samples_B], completions_B),
        correct_weights_T=np.repeat(sequences.correct_weights_B[samples_B], completions_B),
        mask_T=np.repeat(sequences.trains_B[samples_B], completions_B),
        sequence_T=np.repeat(np.arange(len(samples_B)), completions_B),
        temperature_T=np.repeat(sequences.temperatures_B[samples_B], completions_B),
        lag_T=sequences.lag_T[from_T],
        proximal_logprobs_T=picked(sequences.proximal_logprobs_T),
        reference_logprobs_T=picked(sequences.reference_logprobs_T),
        values_T=picked(sequences.values_T),
        returns_T=picked(sequences.returns_T),
    )


def _dummy(like: Sequences) -> MicroBatch:
    """Two sequences of a token that does not train: they keep a rank in step with the others."""
    zeros = np.zeros(2, np.float32)

    def optional(values_T: Floats | None) -> Floats | None:
        return None if values_T is None else zeros

    return MicroBatch(
        token_ids_RS=np.zeros((2, 2), np.int64),
        position_ids_RS=None,
        sources_T=np.array([0, 2]),
        targets_T=np.zeros(2, np.int64),
        sampled_logprobs_T=zeros,
        advantages_T=zeros,
        weights_T=zeros,
        correct_weights_T=zeros,
        mask_T=np.zeros(2, np.bool_),
        sequence_T=np.arange(2),
        temperature_T=np.ones(2, np.float32),
        lag_T=np.zeros(2, np.int64),
        proximal_logprobs_T=optional(like.proximal_logprobs_T),
        reference_logprobs_T=optional(like.reference_logprobs_T),
        values_T=optional(like.values_T),
        returns_T=optional(like.returns_T),
    )


def _advantages(sample: TrainSample) -> Sequence[float]:
    if sample.token_advantages_T is not None:
        return sample.token_advantages_T
    return [sample.advantage] * len(sample.rollout.completion_ids_T)


def _optional(sample: TrainSample) -> dict[str, Sequence[float] | None]:
    """What a sample may have for each of its tokens, by the name of its array."""
    scores = sample.scores or TokenScores()
    return {
        "proximal_logprobs_T": scores.logprobs_T,
        "reference_logprobs_T": scores.reference_logprobs_T,
        "values_T": scores.values_T,
        "returns_T": sample.returns_T,
    }


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
