"""A rule whose refusals a small model may overrule (TinyV)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite

from rlvr.rewards.base import Reward
from rlvr.rewards.parts import example_of
from rlvr.types import Outcome, Problem, Verdict

VERIFIER = "tinyv@1"
_MODES = ("addon", "model_only", "mixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleThenModel:
    """Rules refuse many right answers; a model that looks at these again gives them back.

    Source: TinyV (arXiv 2505.14625). With r and v the verdicts of rule and model as 0 or 1 and w
    the weight, a text earns

        addon        1 where r = 1, else w v; the model is asked only where the rule says wrong
        mixed        w v + (1 - w) r
        model_only   w v

    A model can be talked into things, so the share of rewards that it grants against the rule is
    capped; past the cap the rule's verdict stands. That share is counted in each grading process
    by itself, so verdicts near the cap depend on what was graded before. A model that gives no
    verdict leaves none: what it would have overruled is not known to be wrong.
    """

    rule: Reward
    model: Reward
    mode: str = "addon"
    weight: float = 1.0
    max_share: float = 0.2
    """Of the latest ``window`` verdicts, how many the model may grant against the rule."""
    window: int = 200
    _granted: deque[bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise ValueError(f"mode={self.mode!r} is unknown; take one of {', '.join(_MODES)}")
        if not (isfinite(self.weight) and 0 < self.weight <= 1):
            raise ValueError(
                f"weight={self.weight}: the model's word counts for more than nothing and no more "
                "than the rule's; give 0 < weight <= 1"
            )
        if not 0 <= self.max_share <= 1 or self.window < 1:
            raise ValueError(
                f"max_share={self.max_share}, window={self.window}: a share lies between 0 and 1, "
                "of at least one verdict"
            )
        # The verdict to come is the latest of the window.
        object.__setattr__(self, "_granted", deque[bool](maxlen=self.window - 1))

    @property
    def maximum(self) -> float:
        """The reward of an answer that both accept."""
        return self.weight if self.mode == "model_only" else 1.0

    def example(self, problem: Problem) -> str | None:
        """The rule's own example."""
        return example_of(self.rule, problem)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        rule = None if self.mode == "model_only" else self.rule(problem, text)
        if rule is not None and not self._asks_after(rule):
            if rule.outcome.is_graded:
                self._granted.append(False)
                accepts = _accepts(rule)
                return self._verdict(rule, accepts, accepts, {"rule": accepts, "judge/asked": 0.0})
            return rule
        model = self.model(problem, text)
        if not model.outcome.is_graded:
            return model
        r, v = (0.0 if rule is None else _accepts(rule)), _accepts(model)
        parts = {**model.parts, "judge/asked": 1.0, "judge/accepts": v}
        if rule is not None:
            full = sum(self._granted) + 1 > self.max_share * self.window
            capped = v > r and full
            parts |= {"rule": r, "judge/disagrees": float(v != r), "judge/capped": float(capped)}
            v = r if capped else v
            self._granted.append(v > r)
        reward = self.weight * v + ((1 - self.weight) * r if self.mode == "mixed" else 0.0)
        return self._verdict(model, reward, max(r, v), parts)

    def _asks_after(self, rule: Verdict) -> bool:
        if self.mode == "mixed":
            return rule.outcome in (Outcome.CORRECT, Outcome.WRONG)
        return rule.outcome is Outcome.WRONG

    def _verdict(
        self, by: Verdict, reward: float, accepted: float, parts: Mapping[str, float]
    ) -> Verdict:
        no_answer = by.outcome is Outcome.NO_ANSWER
        wrong = Outcome.NO_ANSWER if no_answer else Outcome.WRONG
        return replace(
            by,
            outcome=Outcome.CORRECT if accepted else wrong,
            reward=reward,
            parts=dict(parts),
            verifier=VERIFIER,
        )


def _accepts(verdict: Verdict) -> float:
    return float(verdict.outcome is Outcome.CORRECT)
