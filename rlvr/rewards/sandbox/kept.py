"""A sandbox that is opened once in each thread that uses it, and again after a failure."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from rlvr.rewards.sandbox.box import Box, Sandbox


class KeptSandbox:
    """An open sandbox for each thread of each process that uses it.

    Opening one costs ten times as much as running a short program in it. What a program leaves
    behind is ended, and its files are gone, before the next one starts.
    """

    def __init__(self, limits: Sandbox) -> None:
        self._limits = limits
        # Not shared by threads: the sandbox dies with the one that opened it.
        self._own = threading.local()

    def __reduce__(self) -> tuple[type[KeptSandbox], tuple[Sandbox]]:
        return KeptSandbox, (self._limits,)

    @contextmanager
    def box(self) -> Generator[Box]:
        """The sandbox of this thread. A failure within the block closes it.

        Raises:
            SandboxError: it cannot be made.
        """
        held: _Held | None = getattr(self._own, "held", None)
        if held is None or not held.is_usable:
            held = self._own.held = _Held(self._limits)
        try:
            yield held.box
        except BaseException:
            # An answer may be under way, which the next question would take for its own.
            self._own.held = None
            held.close()
            raise


class _Held:
    """An open sandbox, the process that opened it, and its end when nothing holds it any more."""

    def __init__(self, limits: Sandbox) -> None:
        self._owner = os.getpid()
        stack = ExitStack()
        self.box = stack.enter_context(limits.open())
        self.close = weakref.finalize(self, _close, stack, self._owner)

    @property
    def is_usable(self) -> bool:
        """Whether it was opened by this process, which may be a fork, and still lives."""
        return self._owner == os.getpid() and self.box.is_alive


def _close(stack: ExitStack, owner: int) -> None:
    if owner == os.getpid():
        stack.close()
    else:
        stack.pop_all()  # a fork's copy: the sandbox is not its own to end
