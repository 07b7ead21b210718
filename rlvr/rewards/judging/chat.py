"""Asks a chat model over HTTP: one message, one reply, within a budget."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from rlvr.rewards.judging import quota

_TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_SHOWN = 200
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0


class ChatError(RuntimeError):
    """The model gave no reply; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model said, and what it took."""

    text: str
    cached: bool
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A chat model behind ``{url}/chat/completions`` (OpenAI's protocol), asked at temperature 0.

    Its limits and its cache hold for all processes of a machine that name the same directory.
    """

    url: str
    """Such as ``http://judge:8000/v1``."""
    model: str
    directory: str
    """For the cache and the limits; on a local disk, since file locks on others may lie."""
    api_key_env: str = ""
    """Environment variable that holds the key; the key itself is in no recipe and no log."""
    max_tokens: int = 16
    seconds: float = 4.0
    """For everything: waiting for a place, all attempts and the pauses between them. Keep it below
    ``reward_service.seconds``."""
    attempts: int = 4
    at_once: int = 16
    """Requests under way from one machine."""
    per_minute: float = 0.0
    """Requests from one machine; 0 sets no limit."""
    cache: bool = True
    _tls: ssl.SSLContext | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        scheme, _, rest = self.url.partition("://")
        if scheme not in ("http", "https") or not rest:
            raise ValueError(
                f"url={self.url!r} is no address; give the part before /chat/completions, such as "
                "http://localhost:8000/v1"
            )
        if not self.model or not self.directory:
            raise ValueError(
                f"model={self.model!r}, directory={self.directory!r}: name the model, and a "
                "directory on a local disk for its replies and limits"
            )
        if self.api_key_env and not os.environ.get(self.api_key_env):
            raise ValueError(
                f"api_key_env={self.api_key_env!r} is not set in this process; export it on every "
                "node that grades"
            )
        numbers = self.max_tokens, self.attempts, self.at_once
        if min(numbers) < 1 or self.seconds <= 0 or self.per_minute < 0:
            raise ValueError(
                f"max_tokens, attempts, at_once={numbers}, seconds={self.seconds}, "
                f"per_minute={self.per_minute}: the first three are at least 1, seconds is more "
                "than 0 and per_minute not negative"
            )
        # Reading the certificates takes longer than a request; forks share what is read here.
        tls = ssl.create_default_context() if scheme == "https" else None
        object.__setattr__(self, "_tls", tls)

    def ask(self, message: str, readable: Callable[[str], bool]) -> Reply:
        """The model's reply; from the cache where it has given a ``readable`` one before.

        Raises:
            ChatError: it gave none within ``seconds``, or refused.
        """
        deadline = time.monotonic() + self.seconds
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": message}],
            "temperature": 0.0,
            "max_tokens": self.max_tokens,
        }
        replies = Replies(Path(self.directory) / "replies.sqlite", deadline) if self.cache else None
        key = hashlib.sha256(json.dumps([self.url, body], sort_keys=True).encode()).hexdigest()
        if replies is not None and (known := replies.get(key)) is not None:
            return Reply(text=known, cached=True, attempts=0)
        try:
            with quota.slot(Path(self.directory) / "slots", self.at_once, deadline=deadline):
                text, attempts = self._insist(body, deadline)
        except quota.QuotaError as e:
            raise ChatError(str(e)) from e
        if replies is not None and readable(text):
            replies.put(key, text)
        return Reply(text=text, cached=False, attempts=attempts)

    def _insist(self, body: dict[str, Any], deadline: float) -> tuple[str, int]:
        why, attempt = "", 0
        while attempt < self.attempts:
            attempt += 1
            if self.per_minute:
                quota.take_token(
                    Path(self.directory) / "requests.sqlite",
                    per_minute=self.per_minute,
                    burst=max(1.0, self.per_minute / 60),
                    deadline=deadline,
                )
            try:
                return self._request(body, deadline), attempt
            except _TryAgainError as e:
                why = str(e)
                longest = min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE)
                # Apart by chance, so that processes do not come back all at once.
                pause = max(e.after, longest * random.uniform(0.5, 1.0))
            if time.monotonic() + pause >= deadline:
                why += f" (asks to wait {pause:.1f} s, past its {self.seconds:g} s)"
                break
            if attempt < self.attempts:
                time.sleep(pause)
        raise ChatError(f"{self.model} at {self.url}, attempt {attempt} of {self.attempts}: {why}")

    def _request(self, body: dict[str, Any], deadline: float) -> str:
        key = os.environ.get(self.api_key_env) if self.api_key_env else None
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        left = max(deadline - time.monotonic(), 0.01)
        try:
            with httpx.Client(verify=self._tls or False, timeout=left) as client:
                address = f"{self.url.rstrip('/')}/chat/completions"
                response = client.post(address, json=body, headers=headers)
        except httpx.TransportError as e:
            raise _TryAgainError(f"{type(e).__name__}: {e}") from e
        if response.status_code in _TRY_AGAIN:
            said = f"HTTP {response.status_code}: {response.text[:_SHOWN]}"
            raise _TryAgainError(said, _seconds(response.headers.get("retry-after", "")))
        if response.status_code != 200:
            raise ChatError(
                f"{self.model} at {self.url} refused with HTTP {response.status_code}: "
                f"{response.text[:_SHOWN]}"
            )
        try:
            content: object = response.json()["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError) as e:
            raise ChatError(f"{self.url} sent no chat completion: {response.text[:_SHOWN]}") from e
        return content if isinstance(content, str) else ""


class Replies:
    """Replies that were read, in a file that all processes of a machine share."""

    def __init__(self, path: Path, deadline: float) -> None:
        """Waits for other writers until ``deadline`` (monotonic seconds) at the longest."""
        self._path = path
        self._deadline = deadline

    def get(self, key: str) -> str | None:
        with closing(self._open()) as file:
            row = file.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def put(self, key: str, reply: str) -> None:
        with closing(self._open()) as file:
            file.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, reply))

    def _open(self) -> sqlite3.Connection:
        # Opened for each use: a connection must not be carried into a fork.
        self._path.parent.mkdir(parents=True, exist_ok=True)
        patience = max(self._deadline - time.monotonic(), 0.1)
        # Not WAL: several who turn a new file to it at once do not wait, they fail as locked.
        file = sqlite3.connect(self._path, timeout=patience, isolation_level=None)
        file.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT)")
        return file


class _TryAgainError(Exception):
    """A failure that may pass."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


def _seconds(retry_after: str) -> float:
    """Seconds that a ``Retry-After`` asks for, as a number or as a date; 0 for what is neither."""
    try:
        return max(float(retry_after), 0.0)
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max((date.astimezone(UTC) - datetime.now(UTC)).total_seconds(), 0.0)
