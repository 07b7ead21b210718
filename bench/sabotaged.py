"""The math verifier, but for one answer that hangs it: its own ladder leaves no text that does."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlvr.rewards.math import Math
from rlvr.types import Problem, Verdict

HANGS = "\\boxed{hang}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sabotaged:
    """Loops for ever on ``HANGS``."""

    math: Math = field(default_factory=Math)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        while text == HANGS:
            pass
        return self.math(problem, text)
