"""Rewards of form alone: whether a response is laid out as it was asked to be.

They judge no answer. As a gate or as a part of a sum (``rewards.compose``) they stand beside one
that does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rlvr.rewards.answers import extract
from rlvr.rewards.answers.marked import form_named
from rlvr.types import Outcome, Problem, Verdict

VERIFIER = "format@1"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")

_TURN = re.compile(r"</think>\s*<answer>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Strict:
    """1 for a text that is ``<think>...</think> <answer>...</answer>`` from its first character to
    its last, else 0 (DeepSeek-R1, arXiv:2501.12948).

    As the expression ``^<think>.*</think>\\s*<answer>.*</answer>$`` has it, but in linear time.
    """

    opened: bool = False
    """The prompt's template ends in ``<think>``, so the text starts inside the thought."""
    once: bool = False
    """Each tag must also be the only one of its kind."""

    @property
    def maximum(self) -> float:
        """The reward of a text in this form."""
        return 1.0

    def dress(self, text: str) -> str:
        """The same text, in this form."""
        return _in_tags(text, self.opened)

    def key(self, problem: Problem, text: str) -> str:
        """The reward, for it is all that the verdict says."""
        return str(self._fits(text))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return _verdict(float(self._fits(text)), "not <think>...</think><answer>...</answer>")

    def _fits(self, text: str) -> bool:
        whole = _whole(text, self.opened).removesuffix("\n")
        start, end = len("<think>"), len(whole) - len("</answer>")
        if not (whole.startswith("<think>") and whole.endswith("</answer>") and start <= end):
            return False
        if self.once and any(whole.count(tag) != 1 for tag in TAGS):
            return False
        return _TURN.search(whole, start, end) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Soft:
    """A quarter for each of the four tags that is in the text exactly once, wherever it is
    (V-Triune, arXiv:2505.18129)."""

    opened: bool = False
    """The prompt's template ends in ``<think>``, so the text starts inside the thought."""

    @property
    def maximum(self) -> float:
        """The reward of a text in this form."""
        return 1.0

    def dress(self, text: str) -> str:
        """The same text, in this form."""
        return _in_tags(text, self.opened)

    def key(self, problem: Problem, text: str) -> str:
        """The reward, for it is all that the verdict says."""
        return str(self._share(text))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return _verdict(self._share(text), "tags that are missing or repeated")

    def _share(self, text: str) -> float:
        whole = _whole(text, self.opened)
        return sum(whole.count(tag) == 1 for tag in TAGS) / len(TAGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """1 for a text that marks an answer in the given form after its thoughts, else 0."""

    form: str = "box"
    """How an answer is marked: ``box``, ``answer_tag``, ``hashes`` or ``phrase``."""

    def __post_init__(self) -> None:
        form_named(self.form)

    @property
    def maximum(self) -> float:
        """The reward of a text in this form."""
        return 1.0

    def dress(self, text: str) -> str:
        """The same text, in this form."""
        return text if self._fits(text) else extract.mark(text, form_named(self.form))

    def key(self, problem: Problem, text: str) -> str:
        """The reward, for it is all that the verdict says."""
        return str(self._fits(text))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return _verdict(float(self._fits(text)), f"no answer marked as {self.form}")

    def _fits(self, text: str) -> bool:
        said = extract.after_thinking(text)
        return said is not None and bool(extract.answers(said, form_named(self.form)))


def has_thought(text: str) -> bool:
    """Whether a text holds one thought that is closed; its opening tag may stand in the prompt."""
    before, closed, after = text.partition("</think>")
    return bool(closed) and before.count("<think>") <= 1 and "think>" not in after


def _whole(text: str, opened: bool) -> str:
    return f"<think>{text}" if opened else text


def _in_tags(text: str, opened: bool) -> str:
    said = (extract.after_thinking(text) or text).strip()
    answer = said if said.startswith("<answer>") else f"<answer>{said}</answer>"
    return f"{'' if opened else '<think>'}So it is.</think>\n{answer}"


def _verdict(share: float, complaint: str) -> Verdict:
    right = share == 1.0
    return Verdict(
        outcome=Outcome.CORRECT if right else Outcome.WRONG,
        reward=share,
        detail="" if right else complaint,
        verifier=VERIFIER,
    )
