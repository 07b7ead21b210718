"""Grades by the scorers of reasoning-gym, where those are safe (``rlvr.puzzles.gym``)."""

from __future__ import annotations

from dataclasses import dataclass

from rlvr.puzzles import gym
from rlvr.rewards.answers import extract
from rlvr.rewards.answers.marked import form_named, judged, no_answer
from rlvr.types import Outcome, Problem, Verdict

VERIFIER = "reasoning_gym@1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningGymScore:
    """What ``dataset.score_answer`` gives the answer, for ``problems.puzzles.ReasoningGym``."""

    form: str = "answer_tag"
    """How an answer is marked; the problems ask for the tag."""
    correct_from: float = 1.0
    """The score from which an answer is correct."""
    partial: bool = False
    """Reward the score itself. Several scorers give part of it to any text that contains the
    answer, or that merely has its shape, so all or nothing is the safer signal."""

    def __post_init__(self) -> None:
        gym.library()  # here, so that the first verdict of a process does not wait for it
        form_named(self.form)
        if not 0 < self.correct_from <= 1:
            raise ValueError(
                f"correct_from={self.correct_from}: scores lie between 0 and 1, so it must be "
                "above 0 and at most 1"
            )

    @property
    def maximum(self) -> float:
        """The reward of a right answer."""
        return 1.0

    def example(self, problem: Problem) -> str | None:
        """A text that gives the reference; None where the dataset has none."""
        answer = problem.answer
        return extract.mark(answer, form_named(self.form)) if answer else None

    def __call__(self, problem: Problem, text: str) -> Verdict:
        made = problem.extra.get("reasoning_gym")
        if made is None:
            return Verdict(
                outcome=Outcome.GOLD_UNPARSED,
                reward=None,
                detail="the problem has no column 'reasoning_gym', so it has no scorer; "
                "rlvr.problems.puzzles.ReasoningGym makes problems that have one",
                verifier=VERIFIER,
            )
        said = extract.after_thinking(text)
        if said is None:
            return no_answer(VERIFIER, "the thinking never ended")
        found = extract.answers(said, form_named(self.form))
        if not found:
            return no_answer(VERIFIER, f"no answer marked as {self.form}")
        score = gym.score(made["dataset"], made["config"], made["entry"], found[-1])
        correct = score >= self.correct_from
        return judged(
            VERIFIER,
            correct,
            reward=score if self.partial else float(correct),
            extracted=found[-1],
            parts={"score": score},
        )
