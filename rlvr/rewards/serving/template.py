"""The owner's side of the template: a process that has loaded the reward and copies itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from rlvr.rewards.porting.ported import About
from rlvr.rewards.serving.descendants import kill_trees
from rlvr.rewards.serving.wire import Limits, Order, receive, send

_ORDER_SECONDS = 30.0
"""Longest wait for a fork, which takes milliseconds unless the machine swaps."""
_CLOSE_SECONDS = 20.0
"""For the template to end its copies; then it is killed, and what they started may stay."""
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # sympy's order of terms follows hashes; verdicts must not
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",  # its threads would be lost in a fork
    "MKL_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",  # what loading prints would else be printed again by every fork
}
_MARK = "RLVR_JAILED"
"""Set for what runs in a jail: a reward that starts one while it is loaded would do so for ever."""
_DYING_SECONDS = 2.0
"""For a process that has let go of its socket to end, so that its exit code is its own."""


class JailError(RuntimeError):
    """The reward cannot be loaded, or no process for it can be made."""


class Template:
    """A process that has loaded the reward and makes copies of itself."""

    def __init__(
        self,
        spec: object,
        *,
        memory_gb: float = 2.0,
        start_seconds: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Load ``spec`` (see ``ported.load``) in a new process.

        ``memory_gb`` is what a copy may take beyond the loaded reward; 0 sets no limit.
        ``environment`` is laid over the variables that it would else have.

        Raises:
            JailError: loading failed or took longer than ``start_seconds``.
        """
        if os.environ.get(_MARK):
            raise JailError(
                f"reward={spec!r}: it would be loaded by a process that has itself been started to "
                "load a reward. A reward's file must not start a jail, a service or a run when it "
                'is imported; move that below `if __name__ == "__main__":`'
            )
        self._spec = spec
        self._memory = int(memory_gb * 2**30)
        self._start_seconds = start_seconds
        self._environment = _ENVIRONMENT | dict(environment or {})
        self._lock = threading.Lock()
        self._closed = False
        self._start()

    def replace(self, pid: int | None, *, cache: int = 0) -> tuple[int, socket.socket]:
        """End the copy ``pid`` if given, and return a new one: its pid and our end of its socket.

        Raises:
            JailError: closed, or the template itself is gone and cannot be started again.
        """
        ours, theirs = socket.socketpair()
        order = Order(kill=pid, fork=Limits(memory=self._memory, cache=cache))
        try:
            with theirs, self._lock:
                return self._fork(order, theirs), ours
        except BaseException:
            ours.close()
            raise

    def end(self, pid: int) -> None:
        """End the copy ``pid`` and all that it started."""
        with self._lock, suppress(OSError):  # the template is gone, and its copies with it
            send(self._owner, Order(kill=pid), deadline=time.monotonic() + _ORDER_SECONDS)

    def close(self) -> None:
        """End it, its copies and all that these started."""
        self._closed = True
        with suppress(OSError):  # it has died, or another thread has closed it
            self._owner.shutdown(socket.SHUT_RDWR)  # ends another thread's wait for it, too
        with self._lock:
            with suppress(OSError):  # another thread was about to start it again
                self._owner.shutdown(socket.SHUT_RDWR)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_CLOSE_SECONDS)
            self._stop()

    def _fork(self, order: Order, theirs: socket.socket) -> int:
        try:
            return self._order(order, theirs)
        except (OSError, EOFError):
            if self._closed:
                raise JailError("the jail is closed") from None
        # The template died, and its copies with it.
        self._stop()
        self._start()
        try:
            return self._order(replace(order, kill=None), theirs)
        except (OSError, EOFError) as e:
            raise JailError(
                f"reward={self._spec!r}: no grading process can be made ({e or type(e).__name__}), "
                "not even by a new process that has loaded the reward; see what this machine is "
                "short of, such as processes (ulimit -u) or memory"
            ) from e

    def _order(self, order: Order, theirs: socket.socket) -> int:
        deadline = time.monotonic() + _ORDER_SECONDS
        send(self._owner, order, deadline=deadline)
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
                | self._environment
                | {_MARK: "1"}
                | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C is for the owner, which then ends this one
            )
        deadline = time.monotonic() + self._start_seconds
        try:
            send(self._owner, self._spec, deadline=deadline)
            about: About | str = receive(self._owner, deadline=deadline)
        except (OSError, EOFError) as e:
            if not isinstance(e, TimeoutError):
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_DYING_SECONDS)
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
        if self._process.poll() is None:
            kill_trees([self._process.pid])  # with what loading has started
        self._process.wait(_ORDER_SECONDS)


_MAIN = "import sys; from rlvr.rewards.serving.jailed import template; template(int(sys.argv[1]))"
