"""Holds callers back while too much waits already."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Backlog:
    """Room for so many texts at a time. Callers enter in the order in which they came."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(
                f"max_waiting={limit}: nothing could ever be graded; use at least 1, such as 4096"
            )
        self._limit = limit
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.texts = 0
        """Let in and not done with."""

    @property
    def held_back(self) -> int:
        """Texts of callers that are not let in yet."""
        return sum(texts for texts, turn in self._queue if not turn.cancelled())

    @asynccontextmanager
    async def room(self, texts: int) -> AsyncGenerator[None]:
        """Wait for room, and give it back at the end. More texts than ever fit enter alone."""
        await self._enter(texts)
        try:
            yield
        finally:
            self.texts -= texts
            self._admit()

    async def _enter(self, texts: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((texts, turn))
        self._admit()
        try:
            await turn  # bounded: whoever is inside has a deadline
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.texts -= texts
            self._admit()
            raise

    def _admit(self) -> None:
        while self._queue:
            texts, turn = self._queue[0]
            if not turn.cancelled():
                if self.texts and self.texts + texts > self._limit:
                    return
                self.texts += texts
                turn.set_result(None)
            self._queue.popleft()
