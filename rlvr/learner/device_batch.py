"""A micro-batch on the device of its rank."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from rlvr.learner.loss import LossInputs
from rlvr.learner.packing import Ints, RankWork, collate

INPUTS = tuple(
    field.name
    for field in fields(LossInputs)
    if field.name.endswith("_T") and field.name not in ("logprobs_T", "entropy_T")
)
"""What a loss is given of a micro-batch; the names are the same there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBatch:
    tensors: dict[str, Tensor]
    """By the names of ``MicroBatch``, those that are there."""
    sequences: int

    def inputs(
        self, logprobs_T: Tensor, entropy_T: Tensor, rows: slice = slice(None)
    ) -> LossInputs:
        """Of the tokens ``rows``, whose log-probs and entropies (nats) these are."""
        given = {name: self.tensors[name][rows] for name in INPUTS if name in self.tensors}
        return LossInputs(
            logprobs_T=logprobs_T, entropy_T=entropy_T, sequences=self.sequences, **given
        )


def device_batch(work: RankWork, samples_B: Ints, device: torch.device) -> DeviceBatch:
    """The micro-batch of these samples; without any, one that keeps step with the other ranks."""
    microbatch = collate(work.sequences, samples_B, layout=work.layout)
    arrays = {name: getattr(microbatch, name) for name in microbatch.__dataclass_fields__}
    return DeviceBatch(
        tensors={
            name: torch.from_numpy(array).to(device, non_blocking=True)
            for name, array in arrays.items()
            if array is not None
        },
        # Counted here, for on the device it would be waited for.
        sequences=int(microbatch.sequence_T[-1]) + 1,
    )
