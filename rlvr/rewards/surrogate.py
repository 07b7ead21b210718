"""A reward that needs no reference: whether an answer is given that can be read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rlvr.rewards import math
from rlvr.rewards.answers import extract
from rlvr.rewards.answers.marked import form_named, judged, no_answer
from rlvr.rewards.format import has_thought
from rlvr.types import Problem, Verdict

VERIFIER = "surrogate@1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrogate:
    """``(thought + valid) / 2``, the format part of the format-length surrogate
    (arXiv:2505.19439).

    Valid, and so ``correct``, is a text whose last marked answer mathematics can read; the length
    part is ``rewards.shaping.surrogate_length``. Pass rates are then shares of valid answers.
    """

    form: str = "box"
    """How an answer is marked: ``box``, ``answer_tag``, ``hashes`` or ``phrase``."""
    thought: bool = True
    """Whether a closed ``<think>`` earns its half; false where the template asks for none."""

    def __post_init__(self) -> None:
        form_named(self.form)

    @property
    def maximum(self) -> float:
        """The reward of a valid text."""
        return 1.0 if self.thought else 0.5

    def dress(self, text: str) -> str:
        """The same text, in this form."""
        marked = text if extract.answers(text, form_named(self.form)) else self._mark(text)
        return (
            f"<think>So it is.</think>\n{marked}"
            if self.thought and not has_thought(text)
            else marked
        )

    def __call__(self, problem: Problem, text: str) -> Verdict:
        thought = self.thought and has_thought(text)
        said = extract.after_thinking(text)
        found = extract.answers(said, form_named(self.form)) if said is not None else ()
        valid = bool(found) and math.readable(found[-1])
        reward = (thought + valid) / 2
        parts = {"thought": float(thought), "valid": float(valid)}
        if not found:
            missing = "the thinking never ended" if said is None else "no answer marked"
            return replace(no_answer(VERIFIER, missing), reward=reward, parts=parts)
        detail = "" if valid else "the marked answer cannot be read"
        return judged(
            VERIFIER, valid, reward=reward, extracted=found[-1], detail=detail, parts=parts
        )

    def _mark(self, text: str) -> str:
        return extract.mark(text, form_named(self.form))
