"""Brings every engine to the learner's weights, with proof."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from rlvr.types import WeightVersion
from rlvr.weights.base import WeightManifest


class Publisher(Protocol):
    async def publish(self, version: WeightVersion) -> WeightManifest: ...


class Loader(Protocol):
    async def load_weights(self, manifest: WeightManifest) -> Mapping[str, float]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSync:
    """The learner puts its weights into the channel, then the engines load and prove them."""

    learner: Publisher
    rollouts: Loader

    async def sync(self, version: WeightVersion) -> dict[str, float]:
        """Return once every engine has confirmed ``version``.

        Raises:
            WeightProofError: an engine holds something else; it will not generate.
        """
        began = time.monotonic()
        manifest = await self.learner.publish(version)
        sent = time.monotonic()
        measured = await self.rollouts.load_weights(manifest)
        return {f"sync/{name}": value for name, value in measured.items()} | {
            "timing_s/sync_send": sent - began,
            "timing_s/sync_load": time.monotonic() - sent,
        }
