"""A sampling temperature that follows the policy's entropy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rlvr.rollout.engine import Sampling

MEASURED = "actor/entropy"


@dataclass(slots=True, kw_only=True)
class EntropyTarget:
    """Holds the mean entropy of what is sampled near ``target`` nats per token, by the temperature.

    0.3 nats at the temperature balances exploring and exploiting (AceReason-Nemotron 1.1,
    arXiv:2506.13284); where it is kept as the policy sharpens, no other term has to pay for
    entropy. After each step, with H the entropy of the step's tokens at their own temperature:
    ``temperature *= exp(rate * clip((target - H) / target, -1, 1))``, within [low, high].

    Raises:
        ValueError: a setting under which it could not move, or would run away.
    """

    target: float = 0.3
    rate: float = 0.05
    """Largest change in a step, as a share of the temperature."""
    low: float = 0.5
    high: float = 1.5
    temperature: float | None = field(default=None, init=False)
    """None until it is given what the run starts with."""

    def __post_init__(self) -> None:
        if not 0 < self.target < math.inf:
            raise ValueError(
                f"target={self.target}: only a greedy policy has no entropy, and it has no "
                "gradient; take a number of nats above 0, such as 0.3"
            )
        if not 0 < self.rate <= 1:
            raise ValueError(
                f"rate={self.rate}: take more than 0 (it would not move) and at most 1, such as "
                "0.05"
            )
        if not 0 < self.low < self.high < math.inf:
            raise ValueError(
                f"low={self.low}, high={self.high}: temperatures are kept between them; take "
                "0 < low < high, such as 0.5 and 1.5"
            )

    def apply(self, sampling: Sampling) -> Sampling:
        """The sampling of the next rollouts; what is given is how the run starts.

        Raises:
            ValueError: it starts outside [low, high].
        """
        if self.temperature is None:
            if not self.low <= sampling.temperature <= self.high:
                raise ValueError(
                    f"sampling.temperature={sampling.temperature} with low={self.low} and "
                    f"high={self.high}: start between them"
                )
            self.temperature = sampling.temperature
        return replace(sampling, temperature=self.temperature)

    def observe(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Move by a step's entropy; a step that measured none changes nothing."""
        entropy = metrics.get(MEASURED, math.nan)
        if self.temperature is not None and math.isfinite(entropy):
            error = max(-1.0, min(1.0, (self.target - entropy) / self.target))
            moved = self.temperature * math.exp(self.rate * error)
            self.temperature = max(self.low, min(self.high, moved))
        return {} if self.temperature is None else {"rollout/temperature": self.temperature}

    def state_dict(self) -> dict[str, float | None]:
        return {"temperature": self.temperature}

    def load_state_dict(self, state: Mapping[str, float | None]) -> None:
        self.temperature = state["temperature"]
