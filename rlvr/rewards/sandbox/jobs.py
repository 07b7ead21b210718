"""What a sandbox is asked to run, and how that ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A whole program, which reads ``stdin`` and prints."""

    source: str
    stdin: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a function, or of a method of the class ``Solution``, that ``source`` defines."""

    source: str
    name: str
    arguments: tuple[Any, ...]
    """Plain values: numbers, strings, lists, tuples, sets, dicts."""
    prelude: str = ""
    """Runs before ``source``, such as imports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """An expression over what ``source`` defines."""

    source: str
    expression: str
    setup: str = ""
    """Runs after ``source``."""
    prelude: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Tests that run in the process of what they test.

    ``token`` comes back as the result once ``tests``, its function ``check`` (given the function
    called ``name``) and its functions ``test*`` have passed. It is read and its pipe closed before
    ``source`` is compiled; builtins are restored before ``tests`` run, and what ``name`` returns
    is made of plain values. So ending early, printing, patching builtins and ``__eq__`` do not
    forge it. A program that walks the interpreter's frames or memory still can, and one that
    patches a module that the tests use; prefer ``Call`` and ``Expression``.
    """

    source: str
    tests: str
    token: bytes
    name: str = ""
    setup: str = ""
    prelude: str = ""


Job = Program | Call | Expression | Script


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a job ended."""

    code: int
    """What it exited with; the negative number of the signal that ended it."""
    stopped: Literal["", "time", "output", "memory"]
    """The limit for which it was killed."""
    stdout: bytes
    stderr: bytes
    """Its last few thousand bytes."""
    result: bytes
    """What a job other than a program left; see ``plain.decoded``."""
    seconds: float
    used: float
    """Seconds that it had: the time without its wait for a CPU, or the CPU time of all of its
    processes if that is more."""
