"""The contract of a weight channel: how new weights reach the engines, and how that is proven."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rlvr.types import WeightVersion


class WeightProofError(RuntimeError):
    """Weights that arrived are not the weights that were sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """Where one tensor lies in the channel's buffer, and what it must hash to."""

    name: str
    """As in a Hugging Face checkpoint."""
    dtype: str
    """As torch spells it, without ``torch.``."""
    shape: tuple[int, ...]
    offset: int
    """Bytes from the buffer's start."""
    nbytes: int
    checksum: int | None
    """Of its bytes; None where this round's sample does not include it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobProbe:
    """A fixed sequence and what the learner makes of it with the very weights that it sent.

    Checksums prove the transfer. Only this proves that what the engine computes with is what it
    was handed (packed copies, tied heads and re-quantised layers can stay behind).
    """

    token_ids_T: tuple[int, ...]
    logprobs_T: tuple[float, ...]
    """Of tokens 1, 2, ... given those before them: one fewer than there are tokens (nats)."""
    tolerance: float
    """Largest mean absolute difference that passes (nats)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightManifest:
    """Says what was sent. Small: it travels as a message, the tensors go through the channel."""

    version: WeightVersion
    channel: str
    """Class of the channel, so that a receiver of another kind refuses."""
    address: Mapping[str, Any]
    """What the receiving side needs in order to read the buffer."""
    tensors: tuple[TensorEntry, ...]
    probe: LogprobProbe | None


class WeightSender(Protocol):
    """The learner's end. Every rank calls ``send``; only rank 0 writes and returns a manifest."""

    def send(
        self,
        tensors: Iterable[tuple[str, Any]],
        *,
        version: WeightVersion,
        probe: LogprobProbe | None,
    ) -> WeightManifest | None:
        """Put full tensors, in order, where the receivers can read them."""
        ...

    def close(self) -> None: ...


class WeightReceiver(Protocol):
    """The engine's end."""

    def receive(self, manifest: WeightManifest) -> Iterable[tuple[str, Any]]:
        """Yield ``(name, tensor)`` in the sender's order, each checked as it is yielded.

        Raises:
            WeightProofError: a tensor's bytes are not what the manifest says; names the tensor.
        """
        ...

    def close(self) -> None: ...
