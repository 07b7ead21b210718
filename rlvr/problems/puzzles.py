"""Puzzles that are made as they are needed, for verifiers that know the rules.

The splits share no puzzle: a hash of the puzzle alone says which one it is in.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import count, islice
from math import floor, isfinite
from typing import Any, Literal, TypeVar, get_args

from rlvr.problems.stream import Shuffled
from rlvr.puzzles import gym
from rlvr.puzzles.base import LEVELS, Puzzle
from rlvr.puzzles.tasks import TASKS, task
from rlvr.types import Problem

Split = Literal["train", "held_out"]
_Key = TypeVar("_Key")

HELD_OUT = 25
"""Percent of all puzzles."""
MAX_REJECTED = 1000
"""Draws in a row that bring nothing new, past which a task's level counts as used up."""
ASK_FOR_TAG = "Give your final answer between <answer> and </answer>."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What puzzles are drawn from: a task at one level."""

    task: str
    level: int


class Puzzles(Shuffled):
    """A stream of puzzles of ``rlvr.puzzles``, for ``rlvr.rewards.puzzle.Puzzle``.

    ``tasks`` names them, each as often as any other, or gives each a weight; a task of your own is
    named by its module. A level that is named k times has k shares. The n-th puzzle of a split, a
    task and a level is always the same one, whatever ``size`` and ``seed``; the seed decides the
    order of the epochs.

    Raises:
        ValueError: an unknown split, task or level, weights that are no shares, or fewer puzzles
            than asked for.
    """

    def __init__(
        self,
        split: Split,
        *,
        tasks: Sequence[str] | Mapping[str, float] = tuple(TASKS),
        levels: Sequence[int] = (1, 2, 3),
        size: int = 4096,
        seed: int = 0,
    ) -> None:
        if not levels or not set(levels) <= set(LEVELS):
            raise ValueError(
                f"levels={list(levels)}: name at least one, each from {LEVELS[0]} to {LEVELS[-1]}"
            )
        weights: dict[_Kind, float] = {}
        for name, weight in _weights("tasks", tasks).items():
            for level in levels:
                kind = _Kind(task=name, level=level)
                weights[kind] = weights.get(kind, 0.0) + weight
        super().__init__(
            [
                problem
                for kind, share in _shares(weights, size).items()
                for problem in _problems(split, kind, share)
            ],
            seed=seed,
        )


class ReasoningGym(Shuffled):
    """A stream of reasoning-gym's datasets, for ``rlvr.rewards.reasoning_gym.ReasoningGymScore``.

    ``datasets`` names them, or gives each its settings; each has the same share. The n-th problem
    of a split and a dataset is always the same one, whatever ``size`` and ``seed``.

    Raises:
        ValueError: an unknown split or dataset, one whose scorer is unsafe (``gym.REFUSED``), or
            fewer problems than asked for.
        ModuleNotFoundError: reasoning-gym is not installed.
    """

    def __init__(
        self,
        split: Split,
        *,
        datasets: Sequence[str] | Mapping[str, Mapping[str, Any]],
        size: int = 4096,
        seed: int = 0,
    ) -> None:
        weights = _weights("datasets", datasets if isinstance(datasets, str) else list(datasets))
        configs = datasets if isinstance(datasets, Mapping) else dict[str, Mapping[str, Any]]()
        super().__init__(
            [
                problem
                for name, share in _shares(weights, size).items()
                for problem in _gym_problems(split, name, configs.get(name, {}), share)
            ],
            seed=seed,
        )


def split_of(puzzle: str) -> Split:
    """The one split that a puzzle is in, from its text alone."""
    place = int.from_bytes(sha256(puzzle.encode()).digest()[:8]) % 100
    return "held_out" if place < HELD_OUT else "train"


def puzzles(split: Split, name: str, level: int) -> Iterator[Puzzle]:
    """The puzzles of a split, no two alike, until they run out; kin are all in one split."""
    _check(split)
    maker = task(name)
    seen: set[str] = set()
    rejected = 0
    for n in count():
        puzzle = maker.generate(random.Random(f"puzzles/{name}/{level}/{n}"), level)
        if split_of(puzzle.kin or puzzle.prompt) == split and puzzle.prompt not in seen:
            seen.add(puzzle.prompt)
            rejected = 0
            yield puzzle
        elif (rejected := rejected + 1) == MAX_REJECTED:
            return


def _problems(split: Split, kind: _Kind, share: int) -> list[Problem]:
    made = list(islice(puzzles(split, kind.task, kind.level), share))
    _check_share(f"task {kind.task!r} at level {kind.level}", split, len(made), share)
    return [
        Problem(
            id=f"puzzles/{kind.task}/{split}/{kind.level}/{i:05d}",
            prompt=puzzle.prompt,
            answer=puzzle.answer,
            source=kind.task,
            extra={"task": kind.task, "level": kind.level, "puzzle": json.dumps(puzzle.data)},
        )
        for i, puzzle in enumerate(made)
    ]


def _gym_problems(split: Split, name: str, config: Mapping[str, Any], share: int) -> list[Problem]:
    made = list(islice(_entries(split, name, config), share))
    _check_share(f"dataset {name!r}", split, len(made), share)
    return [
        Problem(
            id=f"reasoning_gym/{name}/{split}/{i:05d}",
            prompt=f"{entry['question']}\n\n{ASK_FOR_TAG}",
            # Some datasets have no reference: their scorer checks an answer by itself.
            answer=str(entry["answer"] or ""),
            source=name,
            extra={"reasoning_gym": {"dataset": name, "config": dict(config), "entry": entry}},
        )
        for i, entry in enumerate(made)
    ]


def _entries(split: Split, name: str, config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    _check(split)
    made = gym.dataset(name, config)
    seen: set[str] = set()
    rejected = 0
    for n in range(config.get("size", gym.ENTRIES)):
        entry = made[n]
        question: str = entry["question"]
        if split_of(question) == split and question not in seen:
            seen.add(question)
            rejected = 0
            yield entry
        elif (rejected := rejected + 1) == MAX_REJECTED:
            return


def _weights(setting: str, names: Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    if isinstance(names, str):
        raise ValueError(f"{setting}={names!r}: give a list, such as [{names}]")
    weights = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, 1.0)
    if not weights or not all(isfinite(weight) and weight > 0 for weight in weights.values()):
        raise ValueError(
            f"{setting}={names!r}: name at least one, and give each a weight above 0 or none at all"
        )
    return weights


def _shares(weights: Mapping[_Key, float], size: int) -> dict[_Key, int]:
    """Whole shares of ``size`` in proportion to the weights, by largest remainder."""
    total = sum(weights.values())
    exact = {key: size * weight / total for key, weight in weights.items()}
    shares = {key: floor(share) for key, share in exact.items()}
    behind = sorted(exact, key=lambda key: shares[key] - exact[key])
    for key in behind[: size - sum(shares.values())]:
        shares[key] += 1
    if min(shares.values()) < 1:
        raise ValueError(
            f"size={size}: {len(shares)} kinds of puzzle cannot each have one in these shares; ask "
            "for more, or name fewer tasks and levels"
        )
    return shares


def _check(split: str) -> None:
    if split not in get_args(Split):
        raise ValueError(f"split={split!r}: there are {', '.join(get_args(Split))}")


def _check_share(kind: str, split: str, made: int, share: int) -> None:
    if made < share:
        raise ValueError(
            f"size: {kind} has only {made} puzzles in split {split!r} and its share is {share}; "
            "ask for fewer, or for more levels or tasks"
        )
