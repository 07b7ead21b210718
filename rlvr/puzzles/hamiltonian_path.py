"""Hamiltonian path: a way that meets every vertex of a graph once."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.graphs import hidden_way, picture, read_way, visits_all

VERTICES = (6, 9, 12, 16, 20)
MORE = (3, 6, 9, 12, 15)
"""Edges that the hidden path does not take."""

RULES = """\
In this undirected graph, find a path that follows edges and visits every vertex exactly once. It
may start and end anywhere."""


def generate(rng: random.Random, level: int) -> Puzzle:
    vertices = of_level(VERTICES, level)
    way, edges = hidden_way(rng, vertices, more=of_level(MORE, level), closed=False)
    return Puzzle(
        prompt=prompt(
            RULES,
            picture(vertices, edges),
            "Write the vertices in the order of the visit, apart by spaces.",
        ),
        answer=" ".join(map(str, way)),
        data={"vertices": vertices, "edges": edges},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    way = read_way(answer, vertices=data["vertices"])
    return way is not None and visits_all(data, way, closed=False)
