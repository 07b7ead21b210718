"""The reward service over HTTP, for other trainers: no Ray, no GPU, one machine.

    python -m rlvr.rewards.serve recipe=grpo_qwen1.5b host=0.0.0.0 port=8780
    python -m rlvr.rewards.serve recipe=grpo_tiny reward=my_reward.py:score

    POST /grade    {"problem": {"answer": "4", "prompt"?, "source"?, "extra"?, "id"?},
                    "texts": ["so \\\\boxed{4}", ...]}      -> {"verdicts": [{...}, ...]}
                   {"batch": [such, ...]}                 -> {"batch": [{"verdicts": ...}, ...]}
    GET /health    200 once known answers have been graded right, else 503
    GET /metrics   Prometheus' text format

The reward, its settings (``reward_service``) and the known answers (``problems``) are the
recipe's. Exit codes: 0 ended by a signal; 1 failed; 2 a setting was refused; 130 ended by a second
signal, without what was under way.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from rlvr import recipes
from rlvr.config import ConfigError, RunConfig
from rlvr.config_checks import built
from rlvr.problems.base import ProblemStream
from rlvr.rewards.serving.backlog import Backlog
from rlvr.rewards.serving.exchange import Question, RequestError, answer, prometheus, questions
from rlvr.rewards.serving.jail import JailError
from rlvr.rewards.serving.self_test import SelfTestError
from rlvr.rewards.serving.worker import RewardWorker
from rlvr.types import Problem, Verdict

MAX_BODY = 64 * 2**20
"""Bytes of one request."""
EXAMPLES = 8
"""Problems of the recipe whose reference answers have to be accepted."""
READ_SECONDS = 60.0
"""For a request's body to arrive."""
INTERRUPTED = 130

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to listen."""

    host: str = "127.0.0.1"
    port: int = 8780
    """0 takes a free one."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; see the module for exit codes."""
    if {"-h", "--help"} & set(sys.argv[1:] if argv is None else argv):
        print(__doc__)
        return 0
    try:
        place, words = _place(sys.argv[1:] if argv is None else argv)
        run = recipes.load(words, model=False)
        problems: ProblemStream = built("problems", run.problems)
        worker = RewardWorker(**run.reward_service.worker_arguments(run.reward))
    except ConfigError as error:
        print(f"rlvr: {error}", file=sys.stderr)
        return 2
    server = Server(worker=worker, problems=problems.all()[:EXAMPLES], run=run)
    try:
        asyncio.run(_serve(server, place))
    except asyncio.CancelledError:
        return INTERRUPTED
    except (JailError, SelfTestError, ValueError, OSError) as error:
        print(f"rlvr: {error}", file=sys.stderr)
        return 1
    return 0


@dataclass(kw_only=True)
class Server:
    """Answers requests by a reward worker."""

    worker: RewardWorker
    problems: Sequence[Problem]
    run: RunConfig
    ready: bool = field(default=False, init=False)
    """Known answers have been graded right."""

    def __post_init__(self) -> None:
        self._backlog = Backlog(self.run.reward_service.max_waiting)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY, middlewares=[_errors_as_json])
        application.add_routes(
            [
                web.post("/grade", self.grade),
                web.get("/health", self.health),
                web.get("/metrics", self.metrics),
            ]
        )
        return application

    async def start(self) -> str:
        """Load the reward and test it; says what was loaded."""
        about = await self.worker.start(self.problems)
        self.ready = True
        return f"{about.name} ({about.style})"

    async def health(self, _: web.Request) -> web.Response:
        if self.ready:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "starting"}, status=503)

    async def metrics(self, _: web.Request) -> web.Response:
        waiting = float(self._backlog.texts + self._backlog.held_back)
        gauges = {"ready": float(self.ready), "waiting": waiting}
        return web.Response(text=prometheus(self.worker.stats(), gauges))

    async def grade(self, request: web.Request) -> web.Response:
        if not self.ready:
            raise web.HTTPServiceUnavailable(text="the reward is being loaded and tested; wait")
        try:
            async with asyncio.timeout(READ_SECONDS):
                body = await request.read()
        except TimeoutError:
            what = f"the body did not arrive within {READ_SECONDS:g} s"
            raise web.HTTPRequestTimeout(text=what) from None
        asked, batch = questions(body)
        answers = [answer(verdicts) for verdicts in await self._graded(asked)]
        return web.json_response({"batch": answers} if batch else answers[0])

    async def _graded(self, asked: Sequence[Question]) -> list[list[Verdict]]:
        try:
            async with asyncio.timeout(self.run.budgets.grade):
                return await asyncio.gather(*(self._judged(question) for question in asked))
        except TimeoutError:
            what = f"no verdicts within budgets.grade={self.run.budgets.grade:g} s; ask for less"
            raise web.HTTPGatewayTimeout(text=what) from None

    async def _judged(self, question: Question) -> list[Verdict]:
        async with self._backlog.room(len(question.texts)):
            return await self.worker.grade(question.problem, question.texts)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RequestError as error:
        return _refusal(400, str(error))
    except JailError as error:
        log.error("%s", error)
        return _refusal(503, str(error))
    except RecursionError:
        return _refusal(400, "the problem is nested too deeply to be passed on; flatten its extra")
    except web.HTTPException as error:
        return _refusal(error.status, error.text or error.reason)
    except Exception as error:
        log.exception("%s %s failed", request.method, request.path)
        return _refusal(500, f"{type(error).__name__}: {error}")


def _refusal(status: int, reason: str) -> web.Response:
    return web.json_response({"error": {"status": status, "reason": reason}}, status=status)


def _place(argv: Sequence[str]) -> tuple[Place, list[str]]:
    """The settings that are the server's own, and the words that are the recipe's."""
    own: dict[str, Any] = {}
    words: list[str] = []
    for word in argv:
        key, _, value = word.partition("=")
        if key == "host":
            own["host"] = value
        elif key == "port":
            if not value.isdecimal() or int(value) > 65535:
                raise ConfigError(f"port={value}: a port is a number up to 65535, such as 8780")
            own["port"] = int(value)
        else:
            words.append(word)
    return Place(**own), words


async def _serve(server: Server, place: Place) -> None:
    """Listen until the first SIGINT or SIGTERM, then finish what is under way."""
    stop = asyncio.Event()
    _stop_on_signals(stop)
    seconds = server.run.budgets.stop
    # What is under way may finish; then the connections are closed.
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=seconds)
    try:
        await runner.setup()
        site = web.TCPSite(runner, place.host, place.port)
        await site.start()
        loaded = await _unless(stop, server.start())
        if loaded is not None:
            # A colon tells an address of IPv6, which a URL has in brackets.
            host = f"[{place.host}]" if ":" in place.host else place.host
            print(f"rlvr: {loaded} at http://{host}:{runner.addresses[0][1]}", flush=True)
            await stop.wait()  # the whole life of a server
    finally:
        try:
            await runner.cleanup()
        finally:
            server.worker.close()


async def _unless(stop: asyncio.Event, starting: Awaitable[str]) -> str | None:
    """What ``starting`` returns, or None where it was stopped before."""
    start, stopped = asyncio.ensure_future(starting), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((start, stopped), return_when=asyncio.FIRST_COMPLETED)
        return start.result() if start.done() else None
    finally:
        start.cancel()
        stopped.cancel()


def _stop_on_signals(stop: asyncio.Event) -> None:
    """The first sets ``stop``; the second cancels the task that called this."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def end() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)


if __name__ == "__main__":
    sys.exit(main())
