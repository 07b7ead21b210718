"""Runs a reward where it can be killed.

    RewardWorker -> Jail -> (socket) -> fork of the template, which holds the loaded reward
                     |                        ^
                     +- Template: "kill that one, fork another" (a few milliseconds)

Nothing can stop a thread, and a timer's signal waits for C code to return; a process can be
stopped. A text on which grading overran or died yields a verdict without a reward, never a 0, and
the next text meets a fresh process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, cast

from rlvr.rewards.serving.template import JailError, Template
from rlvr.rewards.serving.wire import Reply, Request, receive, send
from rlvr.types import Outcome, Problem, Verdict

_DISPATCHES = 3
"""Processes that are tried before it is said that something kills them all."""


class ExampleError(JailError):
    """The reward failed when it was asked for a right answer."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one dispatch came to."""

    verdicts: tuple[Verdict, ...]
    """One; of a batched reward, those of the whole group."""
    seconds: float
    """From its dispatch on, replacing the process included."""
    cached: int = 0
    """Of the verdicts, those that were found in the cache."""


class Jail:
    """One grading process, replaced whenever a text overruns or kills it.

    Threads may share it; their texts are graded one after the other.
    """

    def __init__(self, template: Template, *, seconds: float, cache: int = 0) -> None:
        """``seconds`` bounds one verdict, counted from its dispatch; a batched reward has that
        much for each text of a group. ``cache``: verdicts that the process remembers."""
        self._template = template
        self._seconds = seconds
        self._cache = cache
        self._lock = threading.Lock()
        self.killed = 0
        """Processes that overran and were killed."""
        self.died = 0
        """Processes that ended by themselves."""
        self._pid, self._pipe = template.replace(None, cache=cache)

    def judge(self, problem: Problem, texts: Sequence[str]) -> list[Judged]:
        """Verdicts on ``texts``, in order; ``timeout`` or ``error`` where the process did not live
        to give one. A batched reward judges all of them at once, any other one after the other.

        Raises:
            JailError: a process could not be replaced.
        """
        if not texts:
            return []
        at_once = len(texts) if self._template.about.batched else 1
        judged: list[Judged] = []
        with self._asking():
            while (done := at_once * len(judged)) < len(texts):
                judged += self._judge_until_it_ends(problem, tuple(texts[done:]), at_once)
        return judged

    def grade(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """As ``judge``, the verdicts alone."""
        return [verdict for judged in self.judge(problem, texts) for verdict in judged.verdicts]

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return self.grade(problem, [text])[0]

    def example(self, problem: Problem) -> str | None:
        """A right answer in the form that the reward looks for; None where it does not say.

        Raises:
            ExampleError: the reward failed, or its process overran or died of the question.
            JailError: a process could not be replaced.
        """
        request = Request(problem=problem, texts=None)
        with self._asking():
            deadline = self._dispatch(request, self._seconds)
            try:
                reply: Reply = receive(self._pipe, deadline=deadline)
            except (OSError, EOFError) as e:
                reply = Reply(value=(self._failed(*self._end(e, self._seconds)),))
        if isinstance(reply.value, tuple):
            raise ExampleError(
                f"asked for a right answer to problem {problem.id!r}, the reward failed: "
                f"{reply.value[0].detail}"
            )
        return reply.value

    def close(self) -> None:
        """End the process and all that it started. The template outlives it."""
        self._pipe.close()
        self._template.end(self._pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _asking(self) -> Generator[None]:
        """One thread at a time. What ends it early, such as Ctrl-C in a notebook, gives up the
        process: its reply may be under way, which the next question would take for its own."""
        with self._lock:
            try:
                yield
            except BaseException:
                self._pipe.close()
                raise

    def _judge_until_it_ends(
        self, problem: Problem, texts: tuple[str, ...], at_once: int
    ) -> list[Judged]:
        """Up to and with the verdict after which the process had to be replaced."""
        judged: list[Judged] = []
        seconds = at_once * self._seconds
        began = time.monotonic()
        deadline = self._dispatch(Request(problem=problem, texts=texts), seconds)
        while at_once * len(judged) < len(texts):
            try:
                reply: Reply = receive(self._pipe, deadline=deadline)
            except (OSError, EOFError) as e:
                outcome, detail = self._end(e, seconds)
                failed = self._failed(outcome, detail)
                judged.append(Judged((failed,) * at_once, time.monotonic() - began))
                break
            now = time.monotonic()
            verdicts = cast(tuple[Verdict, ...], reply.value)
            judged.append(Judged(verdicts, now - began, reply.cached))
            began, deadline = now, now + seconds
            if reply.spent:
                self._respawn()
                break
        return judged

    def _dispatch(self, request: Request, seconds: float) -> float:
        """Hand a request to the process, or to a new one if it has died since; the deadline."""
        for _ in range(_DISPATCHES):
            deadline = time.monotonic() + seconds
            try:
                send(self._pipe, request, deadline=deadline)
            except TimeoutError:
                return deadline  # then nothing comes back, either
            except OSError:
                self.died += 1  # of something else than this request, which it has not read
                self._respawn()
            else:
                return deadline
        raise JailError(
            f"{_DISPATCHES} grading processes in a row ended before they were given anything to "
            "do; see this machine's log for what kills them, such as a lack of memory"
        )

    def _end(self, error: Exception, seconds: float) -> tuple[Outcome, str]:
        """Replace the process that gave no answer; what that says of the text."""
        if isinstance(error, TimeoutError):
            self.killed += 1
            found = Outcome.TIMEOUT, f"no verdict in {seconds:g} s"
        else:
            self.died += 1
            found = Outcome.ERROR, "the grading process died of this text"
        self._respawn()
        return found

    def _failed(self, outcome: Outcome, detail: str) -> Verdict:
        name = self._template.about.name
        return Verdict(outcome=outcome, reward=None, detail=detail, verifier=name)

    def _respawn(self) -> None:
        self._pipe.close()
        self._pid, self._pipe = self._template.replace(self._pid, cache=self._cache)


@contextmanager
def jailed(
    spec: object, *, seconds: float, memory_gb: float = 2.0, cache: int = 0
) -> Generator[Jail, None, None]:
    """A jail with a template of its own, for a notebook, a check or a test."""
    template = Template(spec, memory_gb=memory_gb)
    try:
        with Jail(template, seconds=seconds, cache=cache) as jail:
            yield jail
    finally:
        template.close()
