"""Grades references in bulk, on the inner side of the jail.

One request per reference would cost more than the verdict itself, so a whole chunk travels at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rlvr.rewards.porting.ported import Loaded, load
from rlvr.types import Outcome, Problem, Verdict

CHUNK = "references"
"""The extra column that carries a chunk's problems."""
VERIFIER = "references@1"
SLICE_SECONDS = 0.5
"""A chunk is given back unfinished after this, so that only a hang runs into the deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A reference that was not accepted."""

    place: int
    """In the chunk."""
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of the first references of a chunk."""

    done: int
    unasked: int
    """Of these, those for which the reward has no example of a right answer."""
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """A reward in form only: its problem carries others, and its verdict what they came to."""

    spec: str
    """The reward that is to judge, as in a recipe, in JSON: as a node inside a node it would be
    built before its own rules could say how."""
    loaded: Loaded = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "loaded", load(json.loads(self.spec)))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """Grades references as if a model had given them, for at most a slice of time.

        Raises:
            Exception: what the reward raised; the caller then asks for each reference alone.
        """
        began = time.monotonic()
        problems: Sequence[Problem] = problem.extra[CHUNK]
        done = unasked = 0
        faults: list[Fault] = []
        for place, one in enumerate(problems):
            example = self.loaded.example(one)
            if example is None:
                unasked += 1
            elif (verdict := self.loaded(one, example)).outcome is not Outcome.CORRECT:
                reason = verdict.detail or f"read as {verdict.extracted!r}"
                faults.append(Fault(place=place, outcome=verdict.outcome, reason=reason))
            done += 1
            if time.monotonic() - began > SLICE_SECONDS:
                break
        return _as_verdict(Seen(done=done, unasked=unasked, faults=tuple(faults)))


def _as_verdict(seen: Seen) -> Verdict:
    # Only plain verdicts cross to the owner.
    detail = json.dumps(asdict(seen))
    return Verdict(outcome=Outcome.ABSTAIN, reward=None, detail=detail, verifier=VERIFIER)


def seen_in(verdict: Verdict) -> Seen | None:
    """What ``References`` says of a chunk; None for a verdict that the chunk itself failed."""
    if verdict.verifier != VERIFIER:
        return None
    row: dict[str, Any] = json.loads(verdict.detail)
    faults = (Fault(**fault | {"outcome": Outcome(fault["outcome"])}) for fault in row["faults"])
    return Seen(done=row["done"], unasked=row["unasked"], faults=tuple(faults))
