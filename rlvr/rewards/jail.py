"""Runs a reward where it can be killed.

    RewardWorker -> Jail -> (socket) -> fork of the template, which holds the loaded reward
                     |                        ^
                     +- Template: "kill that one, fork another" (a few milliseconds)

Nothing can stop a thread, and a timer's signal waits for C code to return; a process can be
stopped. A text on which grading overran or died yields a verdict without a reward, never a 0, and
the next text meets a fresh process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Self, cast

from rlvr.rewards.jailed import Order, Reply, receive, send
from rlvr.rewards.ported import About
from rlvr.types import Outcome, Problem, Verdict

_ORDER_SECONDS = 30.0
"""Longest wait for a fork, which takes milliseconds unless the machine swaps."""
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # sympy's order of terms follows hashes; verdicts must not
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",  # its threads would be lost in a fork
    "MKL_NUM_THREADS": "1",
}


class JailError(RuntimeError):
    """The reward cannot be loaded, or no process for it can be made."""


class Template:
    """A process that has loaded the reward and makes copies of itself."""

    def __init__(
        self, spec: object, *, memory_gb: float = 2.0, start_seconds: float = 60.0
    ) -> None:
        """Load ``spec`` (see ``ported.load``) in a new process.

        ``memory_gb`` is what a copy may take beyond the loaded reward; 0 sets no limit.

        Raises:
            JailError: loading failed or took longer than ``start_seconds``.
        """
        self._spec = spec
        self._memory = int(memory_gb * 2**30)
        self._start_seconds = start_seconds
        self._lock = threading.Lock()
        self._closed = False
        self._start()

    def replace(self, pid: int | None) -> tuple[int, socket.socket]:
        """Kill the copy ``pid`` if given, and return a new one: its pid and our end of its socket.

        Raises:
            JailError: closed, or the template itself is gone and cannot be started again.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                return self._fork(pid, theirs), ours
        except BaseException:
            ours.close()
            raise

    def close(self) -> None:
        """Kill it; its copies die with it."""
        self._closed = True
        self._process.kill()
        with self._lock:
            self._stop()

    def _fork(self, kill: int | None, theirs: socket.socket) -> int:
        try:
            return self._order(kill, theirs)
        except (OSError, EOFError):
            if self._closed:
                raise JailError("the jail is closed") from None
        # The template died, and its copies with it.
        self._stop()
        self._start()
        return self._order(None, theirs)

    def _order(self, kill: int | None, theirs: socket.socket) -> int:
        deadline = time.monotonic() + _ORDER_SECONDS
        send(self._owner, Order(kill=kill, memory=self._memory), deadline=deadline)
        socket.send_fds(self._owner, [b"."], [theirs.fileno()])
        return receive(self._owner, deadline=deadline)

    def _start(self) -> None:
        self._owner, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ
                | _ENVIRONMENT
                | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C is for the owner, which then ends this one
            )
        deadline = time.monotonic() + self._start_seconds
        try:
            send(self._owner, self._spec, deadline=deadline)
            about: About | str = receive(self._owner, deadline=deadline)
        except (OSError, EOFError) as e:
            self._stop()
            died = "took longer than start_seconds" if isinstance(e, TimeoutError) else "died"
            raise JailError(
                f"reward={self._spec!r}: the process that loads it {died} "
                f"({self._start_seconds:g} s, exit code {self._process.returncode}); load it in "
                "a plain interpreter to see where it hangs or crashes"
            ) from e
        if isinstance(about, str):
            self._stop()
            raise JailError(about)
        self.about = about

    def _stop(self) -> None:
        self._owner.close()
        self._process.kill()
        self._process.wait(_ORDER_SECONDS)


_MAIN = "import sys; from rlvr.rewards.jailed import template; template(int(sys.argv[1]))"


class Jail:
    """One grading process, replaced whenever a text overruns or kills it.

    Threads may share it; their texts are graded one after the other.
    """

    def __init__(self, template: Template, *, seconds: float) -> None:
        """``seconds`` bounds one verdict, counted from its dispatch."""
        self._template = template
        self._seconds = seconds
        self._lock = threading.Lock()
        self.killed = 0
        """Processes that overran and were killed."""
        self.died = 0
        """Processes that ended by themselves while grading."""
        self._pid, self._pipe = template.replace(None)

    def grade(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """One verdict per text, in order; ``timeout`` or ``error`` where the process did not
        live to give one.

        Raises:
            JailError: a process could not be replaced.
        """
        return [cast(Verdict, self._ask(problem, text)) for text in texts]

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return self.grade(problem, [text])[0]

    def example(self, answer: str) -> str | None:
        """A text that gives ``answer`` in the form that the reward looks for, or None where the
        reward does not say.

        Raises:
            JailError: a process could not be replaced, or died of the question.
        """
        example = self._ask(Problem(id="example", prompt="", answer=answer), None)
        if isinstance(example, Verdict):
            raise JailError(f"asked for an example of a right answer, it failed: {example.detail}")
        return example

    def close(self) -> None:
        """Let the process go. The template outlives it."""
        self._pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, problem: Problem, text: str | None) -> Verdict | str | None:
        with self._lock:
            deadline = time.monotonic() + self._seconds
            try:
                send(self._pipe, (problem, text), deadline=deadline)
                reply: Reply = receive(self._pipe, deadline=deadline)
            except TimeoutError:
                self.killed += 1
                failed = self._failed(Outcome.TIMEOUT, f"no verdict in {self._seconds:g} s")
            except (OSError, EOFError):
                self.died += 1
                failed = self._failed(Outcome.ERROR, "the grading process died of this text")
            else:
                if reply.spent:
                    self._respawn()
                return reply.value
            self._respawn()
            return failed

    def _failed(self, outcome: Outcome, detail: str) -> Verdict:
        name = self._template.about.name
        return Verdict(outcome=outcome, reward=None, detail=detail, verifier=name)

    def _respawn(self) -> None:
        self._pipe.close()
        self._pid, self._pipe = self._template.replace(self._pid)


@contextmanager
def jailed(spec: object, *, seconds: float, memory_gb: float = 2.0) -> Generator[Jail, None, None]:
    """A jail with a template of its own, for a notebook, a check or a test."""
    template = Template(spec, memory_gb=memory_gb)
    try:
        with Jail(template, seconds=seconds) as jail:
            yield jail
    finally:
        template.close()
