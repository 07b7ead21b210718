"""Metrics of one update, summed over micro-batches where they arise and over ranks at the end."""

from __future__ import annotations

from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor


class Tally:
    """Filled with tensors, so that nothing waits for the device; numbers after ``reduce``.

    Every rank must fill in the same names.
    """

    def __init__(self, device: torch.device) -> None:
        self.means: dict[str, tuple[float, float]] = {}
        self.sums: dict[str, float] = {}
        self.maxima: dict[str, float] = {}
        self._device = device
        self._sums: dict[str, Tensor] = {}
        self._maxima: dict[str, Tensor] = {}
        self._mean_names: dict[str, None] = {}

    def add_mean(self, name: str, total: Tensor, count: Tensor) -> None:
        self._mean_names[name] = None
        self.add_sum(f"{name}/total", total)
        self.add_sum(f"{name}/count", count)

    def add_sum(self, name: str, value: Tensor) -> None:
        value = value.detach().double()
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def add_max(self, name: str, value: Tensor | float) -> None:
        value = torch.as_tensor(value, dtype=torch.float64, device=self._device).detach()
        self._maxima[name] = torch.maximum(self._maxima.get(name, value), value)

    def reduce(self) -> None:
        """Add up over all ranks; collective."""
        sums = self._reduced(self._sums, dist.ReduceOp.SUM)
        for name in self._mean_names:
            self.means[name] = (sums.pop(f"{name}/total"), sums.pop(f"{name}/count"))
        self.sums = sums
        self.maxima = self._reduced(self._maxima, dist.ReduceOp.MAX)

    def _reduced(self, values: dict[str, Tensor], op: dist.ReduceOp.RedOpType) -> dict[str, float]:
        if not values:
            return {}
        stacked = torch.stack([value.to(self._device) for value in values.values()])
        dist.all_reduce(stacked, op=op)
        numbers = cast(list[float], stacked.tolist())
        return dict(zip(values, numbers, strict=True))
