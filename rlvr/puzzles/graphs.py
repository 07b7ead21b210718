"""Small graphs that hide a way through all of their vertices."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from rlvr.puzzles.board import read_list, read_number


def hidden_way(
    rng: random.Random, vertices: int, *, more: int, closed: bool
) -> tuple[list[int], list[list[int]]]:
    """A random order of the vertices 1, 2, ..., and edges that join its neighbours, with ``more``
    others among them."""
    way = rng.sample(range(1, vertices + 1), vertices)
    steps = zip(way, [*way[1:], way[0]] if closed else way[1:], strict=False)
    edges = {(min(step), max(step)) for step in steps}
    others = [pair for pair in combinations(range(1, vertices + 1), 2) if pair not in edges]
    edges |= set(rng.sample(others, min(more, len(others))))
    shown = [rng.sample(pair, 2) for pair in sorted(edges)]
    rng.shuffle(shown)
    return way, shown


def picture(vertices: int, edges: Sequence[Sequence[int]]) -> str:
    """What a prompt shows of a graph."""
    pairs = ", ".join(f"{a}-{b}" for a, b in edges)
    return f"vertices: 1 to {vertices}\nedges: {pairs}"


def visits_all(data: Mapping[str, Any], way: Sequence[int | None], *, closed: bool) -> bool:
    """Whether a way takes an edge at every step and meets every vertex once."""
    joined = {frozenset(edge) for edge in data["edges"]}
    steps = zip(way, [*way[1:], way[0]] if closed else way[1:], strict=False)
    return set(way) == set(range(1, data["vertices"] + 1)) and all(
        frozenset(step) in joined for step in steps
    )


def read_way(answer: str, *, vertices: int) -> list[int | None] | None:
    """The vertices that an answer lists; None where they are not ``vertices`` many."""
    words = read_list(answer)
    return [read_number(word) for word in words] if len(words) == vertices else None
