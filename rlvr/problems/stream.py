"""Endless streams over a fixed set of problems, whose place is two numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Any

from rlvr.problems.base import ProblemStream
from rlvr.types import Problem


class Shuffled:
    """Every problem once per epoch, in an order that follows from the seed and the epoch alone.

    The place in the stream is the stream's, not the iterator's: iterating again goes on where
    the last iterator stopped.

    Raises:
        ValueError: there is no problem, or two problems share an id.
    """

    def __init__(self, problems: Sequence[Problem], *, seed: int = 0) -> None:
        if not problems:
            raise ValueError("a stream needs at least 1 problem, got none: check path and limit")
        ids = {problem.id for problem in problems}
        if len(ids) != len(problems):
            raise ValueError(
                f"{len(problems)} problems share {len(ids)} ids: filters and checkpoints know a "
                "problem by its id, so give each its own"
            )
        self._problems = tuple(problems)
        self._seed = seed
        self._epoch = 0
        self._next = 0
        self._order = self._order_of(0)

    def all(self) -> Sequence[Problem]:
        """Every problem once, in the given order."""
        return self._problems

    @property
    def epoch(self) -> int:
        """Of the problem that was drawn last, from 0."""
        return self._epoch

    def __len__(self) -> int:
        return len(self._problems)

    def __iter__(self) -> Iterator[Problem]:
        while True:
            if self._next == len(self._order):
                self._epoch, self._next = self._epoch + 1, 0
                self._order = self._order_of(self._epoch)
            # The place moves first, so a state saved while the problem is held does not repeat it.
            self._next += 1
            yield self._problems[self._order[self._next - 1]]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, prompts and answers, in order."""
        digest = hashlib.sha256()
        for problem in self._problems:
            prompt = problem.prompt
            turns = [prompt] if isinstance(prompt, str) else [(m.role, m.content) for m in prompt]
            digest.update(repr((problem.id, turns, problem.answer)).encode())
        return digest.hexdigest()

    def state_dict(self) -> dict[str, Any]:
        """The place, and what it is a place in."""
        return {
            "epoch": self._epoch,
            "next": self._next,
            "seed": self._seed,
            "fingerprint": self.fingerprint,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved place.

        Raises:
            ValueError: the place is in other problems or in another order of them.
        """
        here = self.state_dict()
        for name in ("seed", "fingerprint"):
            if state[name] != here[name]:
                raise ValueError(
                    f"problems: the checkpoint was saved with {name} {state[name]}, this run has "
                    f"{here[name]}: resume with the same problems and seed, or start a new run_dir"
                )
        self._epoch, self._next = int(state["epoch"]), int(state["next"])
        self._order = self._order_of(self._epoch)

    def _order_of(self, epoch: int) -> list[int]:
        # Sorting by a hash, unlike random.shuffle, gives one order in every version of Python.
        def key(index: int) -> bytes:
            name = f"{self._seed}/{epoch}/{self._problems[index].id}"
            return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=16).digest()

        return sorted(range(len(self._problems)), key=key)


class Without:
    """A stream that passes over some of another's problems; its place is the other's.

    Raises:
        ValueError: no problem is left.
    """

    def __init__(self, problems: ProblemStream, ids: Collection[str]) -> None:
        self._problems = problems
        self._ids = frozenset(ids)
        if not self.all():
            raise ValueError(
                f"all of the {len(problems.all())} problems are left out: leave out fewer"
            )

    def all(self) -> Sequence[Problem]:
        """Every problem that is left, once, in the given order."""
        return [problem for problem in self._problems.all() if problem.id not in self._ids]

    @property
    def epoch(self) -> int:
        """Of the problem that was drawn last, from 0."""
        return self._problems.epoch

    def __iter__(self) -> Iterator[Problem]:
        return (problem for problem in self._problems if problem.id not in self._ids)

    def state_dict(self) -> dict[str, Any]:
        return self._problems.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._problems.load_state_dict(state)
