"""Grades the solution of a puzzle by the puzzle's rules; any solution that keeps them is right."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from rlvr.puzzles.tasks import task
from rlvr.rewards.answers import extract
from rlvr.rewards.answers.extract import Form
from rlvr.rewards.answers.marked import judged, no_answer
from rlvr.types import Outcome, Problem, Verdict

VERIFIER = "puzzle@1"

_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})(?P<rest>.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Puzzle:
    """Whether an answer solves the puzzle in ``Problem.extra`` (see ``problems.puzzles.Puzzles``).

    The answer is the last fenced code block of the response, the ``<answer>`` tag where it has
    none, or the last box where it has neither.
    """

    partial: bool = False
    """Reward the share that is solved, of tasks whose rules say one; else all or nothing."""

    @property
    def maximum(self) -> float:
        """The reward of a right answer."""
        return 1.0

    def example(self, problem: Problem) -> str:
        """A text that gives the reference as the prompts of puzzles ask for it."""
        answer = problem.answer
        longest = max((len(run) for run in re.findall("`+", answer)), default=0)
        fence = "`" * max(3, longest + 1)
        return f"{fence}\n{answer}\n{fence}"

    def key(self, problem: Problem, text: str) -> str | None:
        """The puzzle and the answer: what the verdict rests on."""
        found = _found(text)
        return None if found is None else f"{problem.extra.get('puzzle')}\n{found}"

    def __call__(self, problem: Problem, text: str) -> Verdict:
        name, puzzle = problem.extra.get("task"), problem.extra.get("puzzle")
        if not isinstance(name, str) or not isinstance(puzzle, str):
            return Verdict(
                outcome=Outcome.GOLD_UNPARSED,
                reward=None,
                detail="the problem has no column 'task' and 'puzzle', so there are no rules to "
                "judge by; rlvr.problems.puzzles.Puzzles makes problems that have them",
                verifier=VERIFIER,
            )
        answer = _found(text)
        if answer is None:
            return no_answer(VERIFIER, "no finished code block, answer tag or box after thinking")
        data: dict[str, Any] = json.loads(puzzle)
        solved = float(task(name).verify(data, answer))
        return judged(
            VERIFIER,
            solved == 1.0,
            reward=solved if self.partial else float(solved == 1.0),
            extracted=answer,
        )


def last_block(text: str) -> tuple[str | None, bool]:
    """The content of the last finished code block, None where there is none; and whether the text
    ends inside of another.

    A fence is closed by one of its own kind that is at least as long (CommonMark), so blocks may
    show fences. Takes time linear in the text.
    """
    found: str | None = None
    fence, opened = "", 0
    lines = text.split("\n")
    for number, line in enumerate(lines):
        match = _FENCE.match(line)
        if match is None:
            continue
        mark, rest = match["fence"], match["rest"].strip()
        if not fence:
            if rest.endswith(mark) and rest.strip("`~"):
                found = rest.strip("`~")
            elif "`" not in rest:
                fence, opened = mark, number + 1
        elif mark.startswith(fence) and not rest:
            found, fence = "\n".join(lines[opened:number]), ""
    return found, bool(fence)


def _found(text: str) -> str | None:
    said = extract.after_thinking(text)
    if said is None:
        return None
    block, cut_off = last_block(said)
    if cut_off or block is not None:
        return None if cut_off else block
    for form in (Form.ANSWER_TAG, Form.BOX):
        if marked := extract.answers(said, form):
            return marked[-1]
    return None
