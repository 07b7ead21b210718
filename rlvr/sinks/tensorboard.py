"""Scalars for TensorBoard, in ``tensorboard/``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter


class TensorBoard:
    """Writes each metric as a scalar; ``tensorboard --logdir runs`` shows all runs side by side."""

    def __init__(self, run_dir: str, run_name: str = "", flush_seconds: int = 30) -> None:
        self._directory = Path(run_dir) / "tensorboard"
        self._flush_seconds = flush_seconds
        self._writer: Any = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        writer = self._writer or self._open(purge_step=None)
        for key, value in metrics.items():
            if math.isfinite(value):
                writer.add_scalar(key, value, step)

    def resume(self, step: int) -> None:
        """Have TensorBoard hide what was logged for ``step`` and later: it comes again."""
        self.close()
        self._open(purge_step=step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, purge_step: int | None) -> Any:
        # Opened late: what is purged is said when the file begins.
        self._writer = SummaryWriter(
            logdir=str(self._directory), flush_secs=self._flush_seconds, purge_step=purge_step
        )
        return self._writer
