"""One JSON object per step, in ``metrics.jsonl``."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path


class Jsonl:
    """Appends a line per step and flushes it, so that a killed run leaves whole lines.

    A value that is not finite is written as null: JSON has no NaN.
    """

    def __init__(self, run_dir: str, run_name: str = "", file: str = "metrics.jsonl") -> None:
        self.path = Path(run_dir) / file
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lines = self.path.open("a", encoding="utf-8")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        values = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
        self._lines.write(json.dumps({"step": step, **values}) + "\n")
        self._lines.flush()

    def resume(self, step: int) -> None:
        """Remove the lines of ``step`` and later, and one that was cut short: they come again."""
        self._lines.close()
        kept = [line for line in self.path.read_bytes().splitlines() if _step(line) < step]
        aside = self.path.with_name(self.path.name + ".resuming")
        aside.write_bytes(b"".join(line + b"\n" for line in kept))
        os.replace(aside, self.path)
        self._lines = self.path.open("a", encoding="utf-8")

    def close(self) -> None:
        self._lines.close()


def _step(line: bytes) -> float:
    """The line's step; infinite where a kill cut the line short."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
