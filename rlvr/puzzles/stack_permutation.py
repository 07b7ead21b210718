"""Stack permutation: the pushes and pops that turn one order into another."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from typing import Any

from rlvr.puzzles.base import Puzzle, of_level, prompt
from rlvr.puzzles.board import read_list

ITEMS = (4, 6, 9, 13, 18)

RULES = """\
Items come in one at a time, in the order of the first line. You have one stack, empty at first.
"push" puts the next item that comes in on top of the stack; "pop" takes the top item off the
stack and puts it out. Every item is pushed once and popped once. Make them come out in the order
of the second line."""


def generate(rng: random.Random, level: int) -> Puzzle:
    count = of_level(ITEMS, level)
    items = rng.sample(string.ascii_uppercase, count)
    while True:
        steps, order = _run(rng, items)
        # Two lines that are equal or mirrored are seen through at once.
        if order not in (items, items[::-1]):
            break
    return Puzzle(
        prompt=prompt(
            RULES,
            f"in:  {' '.join(items)}\nout: {' '.join(order)}",
            "Write the words push and pop in order, apart by spaces.",
        ),
        answer=" ".join(steps),
        data={"in": items, "out": order},
    )


def verify(data: Mapping[str, Any], answer: str) -> bool:
    waiting: list[str] = list(reversed(data["in"]))
    steps = read_list(answer)
    if len(steps) != 2 * len(waiting):
        return False
    stack: list[str] = []
    order: list[str] = []
    for step in map(str.lower, steps):
        if step == "push" and waiting:
            stack.append(waiting.pop())
        elif step == "pop" and stack:
            order.append(stack.pop())
        else:
            return False
    return order == list(data["out"])


def _run(rng: random.Random, items: list[str]) -> tuple[list[str], list[str]]:
    """Random steps, and the order in which they put the items out."""
    waiting, stack = items[::-1], list[str]()
    steps: list[str] = []
    order: list[str] = []
    while waiting or stack:
        possible = ["push"] * bool(waiting) + ["pop"] * bool(stack)
        step = rng.choice(possible)
        steps.append(step)
        if step == "push":
            stack.append(waiting.pop())
        else:
            order.append(stack.pop())
    return steps, order
