"""One worker as the driver sees it: calls, their bounds, and what is said when they fail."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import RayError, RayTaskError

from rlvr import plugin_files
from rlvr.cluster.host import Identity
from rlvr.cluster.placement import Ask
from rlvr.cluster.processes import oom_kills, tail
from rlvr.remote import PhaseTimeout, WorkerDied

LOG_LINES = 15


class Worker:
    """A ``Remote``: one process and the object in it."""

    def __init__(
        self,
        ask: Ask,
        *,
        node_id: str,
        logs: Path,
        budgets: Mapping[str, float],
        dump_stacks: Callable[[str], Awaitable[Path]],
    ) -> None:
        """
        Args:
            budgets: seconds by phase.
            dump_stacks: writes the stacks of all workers and returns the file.
        """
        self.ask = ask
        self.actor: Any = None
        self.node_id = node_id
        self.log = logs / f"{ask.name}.log"
        self.stacks = logs / f"{ask.name}.stacks"
        self.identity: Identity | None = None
        """None while its process starts."""
        self.answers = True
        """False after a death or a call past its budget: its ``close`` would only wait too."""
        self._budgets = budgets
        self._dump_stacks = dump_stacks
        self._oom_kills = oom_kills()

    @property
    def name(self) -> str:
        return self.ask.name

    async def start(
        self, host: Any, cls_path: str, kwargs: Mapping[str, Any], concurrency: int
    ) -> None:
        """Start ``host``'s process and have the object made there."""
        self.actor = host.remote(
            log=self.log,
            stacks=self.stacks,
            concurrency=concurrency,
            plugins=plugin_files.sources(),
        )
        self.identity = await self._wait(self.actor.identity.remote(), "__init__", "start")
        await self._wait(self.actor.make.remote(cls_path, kwargs), "__init__", "start")

    async def call(self, method: str, /, *args: Any, phase: str, **kwargs: Any) -> Any:
        """Call ``method`` over there and return what it returns; raises as ``Remote.call`` does.

        A call that is cancelled here is cancelled there: an async method gets ``CancelledError``,
        a sync one runs on and its result is dropped.
        """
        if phase not in self._budgets:
            raise ValueError(f"phase={phase!r} has no budget: use one of {sorted(self._budgets)}")
        return await self._wait(self.actor.call.remote(method, args, kwargs), method, phase)

    async def _wait(self, reference: Awaitable[Any], method: str, phase: str) -> Any:
        seconds = self._budgets[phase]
        try:
            async with asyncio.timeout(seconds):
                return await reference
        except RayTaskError as error:
            cause: BaseException | None = cast(Any, error).cause
            raise (cause if isinstance(cause, Exception) else error) from None
        except RayError as error:
            self.answers = False
            raise WorkerDied(self._obituary(method, str(error))) from None
        except TimeoutError:
            self.answers = False
            path = await self._dump_stacks(phase)
            raise PhaseTimeout(
                f"{phase}: {self.name}.{method} took longer than budgets.{phase}={seconds:g} s. "
                f"All workers' stacks are in {path}: look there for what it waits for. If it is "
                f"only slow, raise budgets.{phase}"
            ) from None
        except asyncio.CancelledError:
            cast(Any, ray).cancel(reference)
            raise

    def _obituary(self, method: str, message: str) -> str:
        where = "before it was up"
        if self.identity is not None:
            where = f"pid {self.identity.pid} on {self.identity.hostname}"
        cause = exit_cause(message)
        if oom_kills() > self._oom_kills:
            cause += "; this machine's kernel has killed processes for lack of memory meanwhile"
        return (
            f"{self.name} died in {method} ({where}): {cause}\n"
            f"The end of {self.log}:\n{tail(self.log, LOG_LINES)}"
        )


def exit_cause(message: str) -> str:
    """What Ray's message knows of an exit, without its advice."""
    detail = re.search(r"Worker exit detail: (.*?)(?: Some common causes|$)", message, re.DOTALL)
    if detail is None:
        return message.strip()
    if "End of file" in detail.group(1):
        return (
            "its process ended without a word, as after SIGKILL (from a person, a scheduler, or "
            "the kernel for lack of memory) or a crash in native code"
        )
    return detail.group(1).strip()
