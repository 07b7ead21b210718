"""What an answer is once it has been read: numbers, names, operations, lists, relations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Num:
    """A number as it was written."""

    value: Fraction
    places: int | None = None
    """Digits behind the decimal point; None for integers."""
    digits: int = 0
    """Significant digits of a decimal."""


@dataclass(frozen=True, slots=True)
class Name:
    r"""A variable or a constant, such as ``x``, ``x_1``, ``\pi``, ``\infty``, ``\mathbb{R}``."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operation or a function with its arguments."""

    op: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Several things, and what holds them together."""

    brackets: str
    """``()``, ``[]``, ``[)``, ``(]``, ``{}``, ``<>``, ``::``; of a bare list what parts it:
    ``,``, ``and`` or ``or``."""
    items: tuple[Node, ...]

    @property
    def is_bare(self) -> bool:
        return self.brackets in BARE


BARE = frozenset({",", "and", "or"})


@dataclass(frozen=True, slots=True)
class Chain:
    """``a < b <= c``: one relation less than items."""

    items: tuple[Node, ...]
    relations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Entries by rows."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with a unit, in words as they were written."""

    value: Node
    unit: str


@dataclass(frozen=True, slots=True)
class Words:
    """An answer in words, in one spelling."""

    text: str


Node = Num | Name | Call | Group | Chain | Matrix | Measured | Words

INFINITY = Name(r"\infty")
REALS = Name(r"\mathbb{R}")
EMPTY = Name(r"\emptyset")
CONSTANTS = frozenset({r"\pi", "e", "i"})


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below one."""
    match node:
        case Call():
            return node.args
        case Group() | Chain():
            return node.items
        case Matrix():
            return tuple(entry for row in node.rows for entry in row)
        case Measured():
            return (node.value,)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    rest = [node]
    while rest:
        node = rest.pop()
        yield node
        rest += children(node)


def depth(node: Node) -> int:
    """Levels of a tree, without climbing it by recursion."""
    level, levels = [node], 0
    while level:
        level = [child for parent in level for child in children(parent)]
        levels += 1
    return levels


def variables(node: Node) -> frozenset[str]:
    """Names that stand for no known constant."""
    found: set[str] = set()
    indices: set[str] = set()
    for part in walk(node):
        if isinstance(part, Name):
            found.add(part.text)
        elif isinstance(part, Call) and part.op in ("sum", "prod"):
            indices |= {n.text for n in part.args[1:2] if isinstance(n, Name)}
    return frozenset(found - indices - CONSTANTS)


def is_value(node: Node) -> bool:
    """Whether it is one expression rather than a list, a relation, a matrix or words."""
    return all(isinstance(n, Num | Name | Call) for n in walk(node)) and not any(
        isinstance(n, Call) and n.op in SET_OPERATIONS for n in walk(node)
    )


SET_OPERATIONS = frozenset({"union", "intersection", "without", "pm", "mp"})
