"""Hamiltonian cycle: a round trip that meets every vertex of a graph once."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.graphs import hidden_way, picture, read_way, visits_all

VERTICES = (6, 9, 12, 16, 20)
MORE = (3, 5, 8, 11, 14)
"""Edges that the hidden cycle does not take."""

RULES = """\
In this undirected graph, find a cycle that follows edges, visits every vertex exactly once and
returns to where it started."""


def generate(rng: random.Random, level: int) -> Puzzle:
    vertices = of_level(VERTICES, level)
    way, edges = hidden_way(rng, vertices, more=of_level(MORE, level), closed=True)
    return Puzzle(
        prompt=prompt(
            RULES,
            picture(vertices, edges),
            "Write the vertices in the order of the visit, apart by spaces; the first one is not "
            "repeated at the end.",
        ),
        answer=" ".join(map(str, way)),
        data={"vertices": vertices, "edges": edges},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    way = read_way(answer, vertices=data["vertices"])
    return way is not None and visits_all(data, way, closed=True)
