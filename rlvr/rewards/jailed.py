"""What runs on the inner side of the jail: a template that loads the reward, and its forks.

The template imports the reward once and then only forks, so a replacement costs a fork and not
the import of a computer-algebra system. It stays single-threaded, as forking demands.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any

from rlvr.rewards.ported import Loaded, load
from rlvr.rewards.styles import RewardSpecError
from rlvr.types import Outcome, Problem, Verdict

_HEADER = struct.Struct("!Q")
_PR_SET_PDEATHSIG = 1
MAX_DETAIL = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the template is to do: kill a fork, make a new one, or both."""

    kill: int | None
    memory: int | None
    """Bytes that a new fork may take beyond what the template holds; 0 for no limit, None for
    no new fork. The new fork's socket follows the order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A fork's answer."""

    value: Verdict | str | None
    spent: bool
    """It has used up most of its memory and wants to be replaced."""


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
    """The next message.

    Raises:
        TimeoutError: not complete by ``deadline`` (monotonic seconds).
        EOFError: the other side is gone.
    """
    (size,) = _HEADER.unpack(_exactly(pipe, _HEADER.size, deadline))
    return pickle.loads(_exactly(pipe, size, deadline))


def template(descriptor: int) -> None:
    """Load the reward that the first message names, then fork on order until the owner is gone."""
    owner = socket.socket(fileno=descriptor)
    _die_with_parent()  # a hanging import is not watching the socket
    spec: Any = receive(owner)
    try:
        reward = load(spec)
    except RewardSpecError as e:
        send(owner, str(e))
        return
    except Exception:
        send(owner, f"reward={spec!r} cannot be loaded:\n{traceback.format_exc()}")
        return
    _warm()
    # From here the socket tells; the signal would come when the thread that began this one ends.
    _die_with_parent(0)
    send(owner, reward.about)
    while True:
        try:
            order: Order = receive(owner)
        except EOFError:
            return
        if order.kill is not None:
            _kill(order.kill)
        if order.memory is not None:
            _, descriptors, _, _ = socket.recv_fds(owner, 1, 1)
            send(owner, _fork(owner, socket.socket(fileno=descriptors[0]), reward, order.memory))


def _warm() -> None:
    """Import and build what a fork would else pay for within its first deadline."""
    symbolic = sys.modules.get("rlvr.rewards.answers.symbolic")
    if symbolic is not None:
        symbolic.warm()


def _fork(owner: socket.socket, pipe: socket.socket, reward: Loaded, memory: int) -> int:
    template_pid = os.getpid()
    child = os.fork()
    if child:
        pipe.close()
        return child
    try:
        os.setpgid(0, 0)  # so that what it starts can be killed with it
        _die_with_parent()
        if os.getppid() == template_pid:
            owner.close()
            _limit_memory(memory)
            _serve(pipe, reward, memory)
    except (EOFError, OSError):
        pass  # its owner has gone or has closed it
    finally:
        # Never back into the template's loop, nor through the exit handlers of what it imported.
        os._exit(0)


def _serve(pipe: socket.socket, reward: Loaded, memory: int) -> None:
    start = _resident()
    while True:
        problem, text = receive(pipe)
        value = reward.example(problem.answer) if text is None else _grade(reward, problem, text)
        # Caches grow for ever, and a MemoryError inside sympy would pass for "not equal".
        spent = bool(memory) and _resident() - start > memory // 2
        send(pipe, Reply(value=value, spent=spent))


def _grade(reward: Loaded, problem: Problem, text: str) -> Verdict:
    try:
        return reward(problem, text)
    except (Exception, SystemExit) as e:
        last = traceback.format_exception_only(e)[-1].strip()
        where = traceback.extract_tb(e.__traceback__)[-1]
        detail = f"{last} ({where.filename}:{where.lineno})"
        return Verdict(
            outcome=Outcome.ERROR,
            reward=None,
            detail=detail[:MAX_DETAIL],
            verifier=reward.about.name,
        )


def _limit_memory(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        with open("/proc/self/statm", encoding="ascii") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _die_with_parent(number: int = signal.SIGKILL) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)


def _kill(pid: int) -> None:
    """End a fork and all that it started. Only here is it reaped, so its pid is still its own."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os.waitpid(pid, 0)


def _limit(pipe: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        pipe.settimeout(None)
    elif (left := deadline - time.monotonic()) > 0:
        pipe.settimeout(left)
    else:
        raise TimeoutError("the deadline has passed")


def _exactly(pipe: socket.socket, size: int, deadline: float | None) -> bytes:
    pieces = bytearray()
    while len(pieces) < size:
        _limit(pipe, deadline)
        piece = pipe.recv(min(size - len(pieces), 1 << 20))
        if not piece:
            raise EOFError("the other side is gone")
        pieces += piece
    return bytes(pieces)
