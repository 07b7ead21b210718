"""What runs in every worker process: it imports a plain class, makes one, and calls it.

The class knows nothing of this. Its ``async`` methods run on the process's event loop and may
overlap; its other methods, and its constructor, run in threads of their own, as many as the
worker's concurrency: with one, all of them run on the same thread, one after another.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import pickle
import socket
import sys
import traceback
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rlvr.cluster.processes import answer_dumps, guard_group
from rlvr.plugin_files import Source, serve


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Where a worker lives."""

    pid: int
    hostname: str
    gpus: str
    """As ``CUDA_VISIBLE_DEVICES`` names them; empty without one."""


class Host:
    """Owns one worker's object, its log, and its answers to stack dumps."""

    def __init__(
        self, *, log: Path, stacks: Path, concurrency: int, plugins: Mapping[str, Source]
    ) -> None:
        """``plugins``: the modules that arguments of later calls may be made of."""
        log.parent.mkdir(parents=True, exist_ok=True)
        redirect_output(log)
        self._dumps = answer_dumps(stacks)
        guard_group()
        serve(plugins)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="worker")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._object: Any = None

    def identity(self) -> Identity:
        return Identity(
            pid=os.getpid(),
            hostname=socket.gethostname(),
            gpus=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        )

    async def make(self, cls_path: str, kwargs: Mapping[str, Any]) -> None:
        """Import ``module:Class`` and construct it, both on a worker thread."""
        self._loop = asyncio.get_running_loop()
        with _portable_errors():
            self._object = await self._in_thread(partial(_construct, cls_path, kwargs))

    async def call(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call the object's method. What it raises, this raises."""
        with _portable_errors():
            function = getattr(self._object, method)
            if inspect.iscoroutinefunction(function):
                # A task of its own, so that ``tasks`` can name it and show where it waits.
                return await asyncio.create_task(function(*args, **kwargs), name=method)
            return await self._in_thread(partial(function, *args, **kwargs))

    async def close(self) -> None:
        """Call the object's ``close``, where it has one."""
        if hasattr(self._object, "close"):
            await self.call("close", (), {})

    def tasks(self) -> str:
        """Where each asyncio task stands; a thread's stack does not show one that waits.

        Called on another thread than the event loop's, so it answers while that one is blocked.
        """
        if self._loop is None:
            return ""
        return describe_tasks(self._loop)

    async def _in_thread(self, function: partial[Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)


@contextmanager
def _portable_errors() -> Generator[None]:
    """Let errors out with their traceback as a note, since pickling drops the traceback.

    One that would not survive the journey gives way to a ``RuntimeError`` that tells of it.
    """
    try:
        yield
    except Exception as error:
        here = f"In worker process {os.getpid()}:"
        told = traceback.format_exc()
        # An error that ends many calls comes by here many times, and each note would hold all
        # those before it.
        if not any(note.startswith(here) for note in getattr(error, "__notes__", ())):
            error.add_note(f"{here}\n{told}")
        if not _survives_pickling(error):
            raise RuntimeError(f"{type(error).__name__} (it can't be pickled):\n{told}") from None
        raise


def _survives_pickling(error: Exception) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # an exception's own reduce and constructor may raise anything
        return False


def describe_tasks(loop: asyncio.AbstractEventLoop) -> str:
    """The stack of each unfinished task of ``loop``."""
    return "\n".join(_describe(task) for task in asyncio.all_tasks(loop))


def _describe(task: asyncio.Task[Any]) -> str:
    """Task name, then the frames of its chain of awaits, outermost first."""
    lines = [f"Task {task.get_name()}:"]
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None)
        if frame is not None:
            lines += traceback.format_list(traceback.extract_stack(frame, limit=1))
        waiting = getattr(waiting, "cr_await", None)
    return "\n".join(line.rstrip() for line in lines)


def _construct(cls_path: str, kwargs: Mapping[str, Any]) -> Any:
    module, _, name = cls_path.partition(":")
    return getattr(importlib.import_module(module), name)(**kwargs)


def redirect_output(log: Path) -> None:
    """Send this process's output, that of C code and of later children included, to ``log``."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
