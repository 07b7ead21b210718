"""What runs on the inner side of the jail: a template that loads the reward, and its forks.

The template imports the reward once and then only forks, so a replacement costs a fork and not
the import of a computer-algebra system. It stays single-threaded, as forking demands.
"""

from __future__ import annotations

import math
import os
import resource
import select
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from rlvr.rewards.porting.ported import Loaded, load
from rlvr.rewards.porting.styles import RewardSpecError
from rlvr.rewards.serving.cache import Key, VerdictCache, columns_of
from rlvr.rewards.serving.descendants import (
    adopt_orphans,
    children,
    die_with_parent,
    hurry,
    kill_trees,
)
from rlvr.rewards.serving.wire import Limits, Order, Reply, Request, receive, send
from rlvr.types import Outcome, Problem, Verdict

T = TypeVar("T")

MAX_DETAIL = 2000
_MOST_CHILDREN = 64
"""Processes that a reward may leave behind, dead or alive, before its fork is replaced."""
_MANY = 16
"""Processes found at once that may be multiplying."""
_TIDY_SECONDS = 0.01
"""Between attempts to find and kill what is left of dead forks."""
_LOOK_SECONDS = 0.2
"""Between looks for forks that died by themselves: what they leave may hold their end of the
socket, so that their owner does not notice."""
_LAST_SECONDS = 60.0
"""For all of these, when the owner has gone."""


def template(descriptor: int) -> None:
    """Load the reward that the first message names, then fork on order until the owner is gone."""
    owner = socket.socket(fileno=descriptor)
    owner.set_inheritable(False)  # or what loading starts would keep it open past our own end
    die_with_parent()  # a hanging import is not watching the socket
    spec: Any = receive(owner)
    try:
        reward = load(spec)
    except RewardSpecError as e:
        send(owner, str(e))
        return
    except (Exception, SystemExit):
        send(owner, f"reward={spec!r} cannot be loaded:\n{traceback.format_exc()}")
        return
    _warm()
    # From here the socket tells; the signal would come when the thread that began this one ends.
    die_with_parent(0)
    adopt_orphans()
    forks = _Forks(reward)
    send(owner, reward.about)
    try:
        while True:
            seconds = _TIDY_SECONDS if forks.untidy else _LOOK_SECONDS
            if select.select([owner], [], [], seconds)[0]:
                forks.obey(receive(owner), owner)
            else:
                forks.tidy()
    except (EOFError, OSError):
        forks.end_all()


class _Forks:
    """The template's copies, and what is left of those that died."""

    def __init__(self, reward: Loaded) -> None:
        self._reward = reward
        self._alive: set[int] = set()
        self._own = set(children(os.getpid()))
        """What loading the reward has started: it belongs to the template, as does its end."""
        self.untidy = False
        """Some that were killed, or that dead forks have left, may still be there."""

    def obey(self, order: Order, owner: socket.socket) -> None:
        if order.kill is not None:
            self._end([order.kill])
        if order.fork is not None:
            _, descriptors, _, _ = socket.recv_fds(owner, 1, 1)
            pid = _fork(owner, socket.socket(fileno=descriptors[0]), self._reward, order.fork)
            self._alive.add(pid)
            send(owner, pid)

    def tidy(self) -> None:
        """Reap the dead, and kill the children that no living fork accounts for: orphans."""
        with suppress(ChildProcessError):
            while (dead := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self._alive.discard(dead)
        orphans = set(children(os.getpid())) - self._alive - self._own
        found = kill_trees(orphans)
        hurry(found > _MANY)
        self.untidy = bool(orphans)

    def end_all(self) -> None:
        self._own.clear()
        self._end(list(self._alive))
        deadline = time.monotonic() + _LAST_SECONDS
        while self.untidy and time.monotonic() < deadline:
            self.tidy()
            time.sleep(_TIDY_SECONDS)

    def _end(self, forks: Sequence[int]) -> None:
        # One that is not alive has been reaped, and its pid may be another's by now.
        ended = self._alive & set(forks)
        self._alive -= ended
        hurry(kill_trees(ended) > _MANY)
        self.untidy = True


def _warm() -> None:
    """Import and build what a fork would else pay for within its first deadline."""
    symbolic = sys.modules.get("rlvr.rewards.answers.symbolic")
    if symbolic is not None:
        symbolic.warm()


def _fork(owner: socket.socket, pipe: socket.socket, reward: Loaded, limits: Limits) -> int:
    template_pid = os.getpid()
    child = os.fork()
    if child:
        pipe.close()
        return child
    try:
        os.setpgid(0, 0)
        die_with_parent()
        adopt_orphans()
        if os.getppid() == template_pid:
            owner.close()
            _limit_memory(limits.memory)
            _serve(pipe, reward, limits)
    except (EOFError, OSError):
        pass  # its owner has gone or has closed it
    except BaseException:
        traceback.print_exc()  # all that is left to say why it died
    finally:
        # Never back into the template's loop, nor through the exit handlers of what it imported.
        os._exit(0)


def _serve(pipe: socket.socket, reward: Loaded, limits: Limits) -> None:
    start = _resident()
    cache = VerdictCache(limits.cache)
    while True:
        request: Request = receive(pipe)
        crowded = len(children(os.getpid())) > _MOST_CHILDREN
        for reply in _replies(reward, request, cache):
            # Caches grow for ever, and a MemoryError inside sympy would pass for "not equal".
            full = bool(limits.memory) and _resident() - start > limits.memory // 2
            send(pipe, replace(reply, spent=full or crowded))


def _replies(reward: Loaded, request: Request, cache: VerdictCache) -> Iterator[Reply]:
    problem, texts = request.problem, request.texts
    if texts is None:
        example = _guarded(reward, lambda: reward.example(problem))
        yield Reply(value=(example,) if isinstance(example, Verdict) else example)
    elif reward.about.batched:
        yield Reply(value=_attempt(reward, problem, texts))
    else:
        for text in texts:
            yield _look_up_or_grade(reward, problem, text, cache)


def _look_up_or_grade(reward: Loaded, problem: Problem, text: str, cache: VerdictCache) -> Reply:
    key = _guarded(reward, lambda: _key(reward, problem, text)) if cache.entries else None
    if isinstance(key, Verdict):
        return Reply(value=(key,))
    if key is None:
        return Reply(value=_attempt(reward, problem, (text,)))
    if (known := cache.get(key)) is not None:
        return Reply(value=(known,), cached=1)
    (verdict,) = graded = _attempt(reward, problem, (text,))
    cache.put(key, verdict)
    return Reply(value=graded)


def _key(reward: Loaded, problem: Problem, text: str) -> Key | None:
    extracted = reward.key(problem, text)
    if extracted is None:
        return None
    if type(extracted) is not str:  # of a list there is no hash, and the process would die of it
        raise TypeError(f"key returned a {type(extracted).__name__}; it is to return a text")
    name = reward.about.judge_of(problem)
    columns = columns_of(problem)
    return Key(verifier=name, gold=problem.answer, columns=columns, extracted=extracted)


def _attempt(reward: Loaded, problem: Problem, texts: Sequence[str]) -> tuple[Verdict, ...]:
    verdicts = _guarded(reward, lambda: _sound(reward.grade(problem, texts), len(texts)))
    return (verdicts,) * len(texts) if isinstance(verdicts, Verdict) else verdicts


def _guarded(reward: Loaded, call: Callable[[], T]) -> T | Verdict:
    """What the call returns, or the verdict that it raised something."""
    try:
        return call()
    except (Exception, SystemExit) as e:
        last = traceback.format_exception_only(e)[-1].strip()
        where = traceback.extract_tb(e.__traceback__)[-1]
        return Verdict(
            outcome=Outcome.ERROR,
            reward=None,
            detail=f"{last} ({where.filename}:{where.lineno})"[:MAX_DETAIL],
            verifier=reward.about.name,
        )


def _sound(verdicts: Sequence[Verdict], texts: int) -> tuple[Verdict, ...]:
    """What a reward returned, if it can cross to the owner and train."""
    if len(verdicts) != texts:
        raise TypeError(f"the reward returned {len(verdicts)} verdicts for {texts} texts")
    for verdict in verdicts:
        # The owner has not loaded the reward's modules, so it can unpickle no class of theirs.
        held = _texts(verdict) if type(verdict) is Verdict else [verdict]
        if odd := [type(value).__name__ for value in held if type(value) is not str]:
            raise TypeError(
                f"the reward returned a {odd[0]}; it is to return a Verdict of plain values"
            )
        if verdict.reward is not None and not math.isfinite(verdict.reward):
            raise ValueError(f"the reward is {verdict.reward}; it has to be a finite number")
    return tuple(_plain(verdict) for verdict in verdicts)


def _texts(verdict: Verdict) -> list[object]:
    extracted = "" if verdict.extracted is None else verdict.extracted
    return [extracted, verdict.detail, verdict.verifier]


def _plain(verdict: Verdict) -> Verdict:
    if type(verdict.reward) in (float, type(None)) and not verdict.parts:
        return verdict
    reward = None if verdict.reward is None else float(verdict.reward)
    parts = {str(name): float(value) for name, value in verdict.parts.items()}
    return replace(verdict, reward=reward, parts=parts)


def _limit_memory(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        with open("/proc/self/statm", encoding="ascii") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = taken + memory if hard == resource.RLIM_INFINITY else min(taken + memory, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
