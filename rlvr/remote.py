"""The contract of a worker in another process, and of the ways in which it fails."""

from __future__ import annotations

from typing import Any, Protocol


class Remote(Protocol):
    """A handle on one worker process. Parts talk to workers through it and never see Ray."""

    @property
    def name(self) -> str:
        """Such as ``rollout-0``; errors, stack dumps and log files carry it."""
        ...

    async def call(self, method: str, /, *args: Any, phase: str, **kwargs: Any) -> Any:
        """Call ``method`` over there and return what it returns.

        ``phase`` names the budget of ``BudgetConfig`` that bounds the wait.

        Raises:
            WorkerDied: the process is gone.
            PhaseTimeout: the budget ran out; names the phase and the file with all stacks.
            Exception: what the method itself raised, with its own type and traceback.
        """
        ...


class WorkerDied(RuntimeError):
    """A worker process is gone."""


class PhaseTimeout(TimeoutError):
    """A phase ran past its budget."""
