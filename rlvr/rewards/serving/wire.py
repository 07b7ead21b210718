"""What the two sides of the jail say to each other, and how it crosses the socket."""

from __future__ import annotations

import pickle
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

from rlvr.types import Problem, Verdict

_HEADER = struct.Struct("!Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the template is to do: end a fork, make a new one, or both."""

    kill: int | None = None
    """A fork to end, with all that it started."""
    fork: Limits | None = None
    """Of a new fork, whose socket follows the order; None for no new fork."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a fork may take."""

    memory: int = 0
    """Bytes beyond what the template holds; 0 for no limit."""
    cache: int = 0
    """Verdicts that it keeps for texts of equal keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a fork is to grade, or to give an example for."""

    problem: Problem
    texts: tuple[str, ...] | None
    """None asks for a right answer to the problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A fork's answer: to one text, to a whole group, or to the question for an example."""

    value: tuple[Verdict, ...] | str | None
    """Verdicts, of which one may say that the question for an example failed; or the example."""
    cached: int = 0
    """Of the verdicts, those that were found in the cache."""
    spent: bool = False
    """The fork has used up most of its memory, or started too much, and wants to be replaced."""


def send(pipe: socket.socket, message: Any, *, deadline: float | None = None) -> None:
    """Send one message.

    Raises:
        TimeoutError: not taken by ``deadline`` (monotonic seconds).
        OSError: the other side is gone.
    """
    payload = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    _limit(pipe, deadline)
    pipe.sendall(_HEADER.pack(len(payload)) + payload)


def receive(pipe: socket.socket, *, deadline: float | None = None) -> Any:
    """The next message. One that has arrived is taken even after the deadline, since it is the
    receiver that was late.

    Raises:
        TimeoutError: not complete by ``deadline`` (monotonic seconds).
        EOFError: the other side is gone, or what it sent cannot be read.
    """
    (size,) = _HEADER.unpack(_exactly(pipe, _HEADER.size, deadline))
    message = _exactly(pipe, size, deadline)
    try:
        return pickle.loads(message)
    except Exception as e:  # of classes that this side does not know, or written by another
        raise EOFError(f"the other side sent what cannot be read: {e}") from e


def _limit(pipe: socket.socket, deadline: float | None) -> None:
    # Zero would make the socket non-blocking, which raises BlockingIOError and no TimeoutError.
    pipe.settimeout(None if deadline is None else max(1e-3, deadline - time.monotonic()))


def _exactly(pipe: socket.socket, size: int, deadline: float | None) -> bytes:
    pieces = bytearray()
    while len(pieces) < size:
        _limit(pipe, deadline)
        piece = pipe.recv(min(size - len(pieces), 1 << 20))
        if not piece:
            raise EOFError("the other side is gone")
        pieces += piece
    return bytes(pieces)
