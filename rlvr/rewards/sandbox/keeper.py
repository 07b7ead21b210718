"""What runs on the inner side of the sandbox: a keeper that takes jobs, and its forks.

    Sandbox -> (socket) -> launcher -> keeper, pid 1 of its namespace -> one fork per job

The keeper never holds what a job is to be compared with, so no job can find it. It ends all that
a job left running before it takes the next. Standard library alone, and little of it: every
import is paid for by every program that is graded.
"""

from __future__ import annotations

import marshal
import os
import resource
import select
import struct
import time

from rlvr.rewards.sandbox import isolation, processes, runner

# Annotations alone need more; these imports are paid for by every sandbox that starts.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

HEADER = struct.Struct("!I")
DONE = struct.Struct("!ibddIII")
"""Return code, why it was stopped, seconds, seconds that it had (see ``Run.used``), sizes of
stdout, the tail of stderr and the result."""
READY, FINISHED, FAILED = b"R", b"D", b"F"
STARTED = b"+"
"""What a fork leaves before its result when all that it had to give up is given up: what fails
before is not the program's fault, and no program can take it back."""
STOPPED: tuple[Literal["", "time", "output", "memory"], ...] = ("", "time", "output", "memory")
"""Why a job was stopped, by the number in ``DONE``."""
STDERR_TAIL = 4000
_TICK = 0.02
_STACK = 64 << 20


def main(descriptor: int, parent: int) -> Callable[[], None]:
    """Serve jobs until the other side of the socket is gone; in a fork, returns what it is to run.

    Returning lets the job run at the bottom of the stack and end as any program does.
    """
    isolation.die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    isolation.ignore_interrupts()
    settings = marshal.loads(receive(lambda size: os.read(descriptor, size)))
    try:
        keeper = _prepare(settings)
    except isolation.IsolationError as e:
        send(descriptor, FAILED, str(e).encode())
        os._exit(0)
    send(descriptor, READY, keeper.says.encode())
    while True:
        try:
            job = marshal.loads(receive(lambda size: os.read(descriptor, size)))
        except EOFError:
            os._exit(0)
        try:
            run = keeper.start(job)
        except (OSError, MemoryError) as e:
            send(descriptor, FAILED, f"a process for the program cannot be made: {e}".encode())
            continue
        if run is not None:
            return run
        send(descriptor, *keeper.watch(job))


def send(descriptor: int, kind: bytes, payload: bytes) -> None:
    """Send one message of a kind, which is one byte."""
    runner.write_all(descriptor, HEADER.pack(len(payload) + 1) + kind + payload)


def receive(read: Callable[[int], bytes]) -> bytes:
    """The next message, with its kind if it has one.

    Raises:
        EOFError: the other side is gone.
    """
    (size,) = HEADER.unpack(_exactly(read, HEADER.size))
    return _exactly(read, size)


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size:
        piece = read(min(size - len(pieces), 1 << 20))
        if not piece:
            raise EOFError("the other side is gone")
        pieces += piece
    return bytes(pieces)


def _prepare(settings: dict[str, Any]) -> Keeper:
    """The keeper, in namespaces of its own; in their place the launcher, where that is allowed."""
    processes.offer_to_be_killed()
    user = isolation.unused_user()
    # Looked at before a namespace hides whose they are, and only where their limit counts them.
    counted = settings["best_effort"] or processes.kernel() < (5, 14)
    others = processes.tasks_of(os.geteuid()) if counted else 0
    try:
        is_root = isolation.enter_namespaces()
    except isolation.IsolationError:
        if not settings["best_effort"]:
            raise
        settings["processes"] += others if os.geteuid() != user else 0
        isolation.adopt_orphans()
        isolation.set_readable(False)
        return Keeper(settings, user=None, apart=False)
    if not is_root and processes.kernel() < (5, 14):  # from then on a namespace counts its own
        settings["processes"] += others
    pid = os.fork()
    if pid:
        _wait_for(pid)
    isolation.die_with_parent()
    isolation.set_readable(False)
    isolation.make_root(settings["packages"], settings["interpreter"])
    return Keeper(settings, user=user if is_root else None, apart=True)


def _wait_for(pid: int) -> None:
    """Be the parent that the keeper dies with."""
    os.closerange(3, 256)
    _, status = os.waitpid(pid, 0)
    os._exit(0 if os.WIFEXITED(status) else 1)


class Keeper:
    """Starts jobs, watches their limits and ends all that they started."""

    def __init__(self, settings: dict[str, Any], *, user: int | None, apart: bool) -> None:
        self._settings = settings
        self._user = user
        self._apart = apart
        self._pid = 0
        self._pipes: dict[int, Pipe] = {}
        self._jobs = 0
        self.says = "namespaces" if apart else "best effort"

    def start(self, job: dict[str, Any]) -> Callable[[], None] | None:
        """Fork for a job. Returns what to run in the fork, and None in the keeper."""
        self._jobs += 1
        runner.preload(job)
        given = os.memfd_create("stdin")
        runner.write_all(given, job["stdin"])
        os.lseek(given, 0, os.SEEK_SET)
        ends = [os.pipe() for _ in range(3)]
        try:
            self._pid = os.fork()
        except OSError:
            for descriptor in (given, *(end for pair in ends for end in pair)):
                os.close(descriptor)
            raise
        if self._pid == 0:
            self._become_the_job(job, [given, *(write for _, write in ends)])
            run = runner.runner(job)
            os.write(runner.RESULT, STARTED)
            return run
        os.close(given)
        caps = job["output"], job["output"], job["output"] + len(STARTED)
        self._pipes = {}
        for (read, write), cap, tail in zip(ends, caps, (0, STDERR_TAIL, 0), strict=True):
            os.close(write)
            os.set_blocking(read, False)
            self._pipes[read] = Pipe(read, cap=cap, tail=tail)
        return None

    def watch(self, job: dict[str, Any]) -> tuple[bytes, bytes]:
        """Wait until the job ends or overruns a limit; the kind of its report, and the report."""
        start, before = time.monotonic(), processes.children_seconds()
        poll = select.poll()
        for read in self._pipes:
            poll.register(read, select.POLLIN)
        status, stopped, waited, pause, look = None, 0, 0.0, 0.0005, start
        while not stopped and status is None:
            if any(pipe.is_open for pipe in self._pipes.values()):
                for read, _ in poll.poll(_TICK * 1000):
                    if not self._pipes[read].take():
                        poll.unregister(read)
                    elif self._pipes[read].is_full:
                        stopped = STOPPED.index("output")
            else:
                time.sleep(pause)
                pause = min(2 * pause, _TICK)
            elapsed = time.monotonic() - start
            if start + elapsed > look + _TICK:
                look = start + elapsed
                waited = self._waited()
                if elapsed - waited >= job["seconds"] or elapsed >= job["wall_seconds"]:
                    stopped = stopped or STOPPED.index("time")
                elif self._taken() > job["memory"]:
                    stopped = stopped or STOPPED.index("memory")
            status = self._status()
        seconds = time.monotonic() - start
        self._end_all()
        # A program that starves itself by its own processes has had their time.
        used = max(seconds - waited, processes.children_seconds() - before)
        return self._report(status, stopped, seconds, used)

    def _report(
        self, status: int | None, stopped: int, seconds: float, used: float
    ) -> tuple[bytes, bytes]:
        texts: list[bytes] = []
        for pipe in self._pipes.values():
            pipe.drain()
            stopped = stopped or (STOPPED.index("output") if pipe.is_full else 0)
            texts.append(pipe.close())
        code = -isolation.KILL if status is None else os.waitstatus_to_exitcode(status)
        if not texts[-1].startswith(STARTED) and STOPPED[stopped] != "time":
            return FAILED, b"the program could not be started: " + texts[1]
        texts[-1] = texts[-1].removeprefix(STARTED)
        sizes = [len(text) for text in texts]
        return FINISHED, DONE.pack(code, stopped, seconds, used, *sizes) + b"".join(texts)

    def _status(self) -> int | None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        return status if pid else None

    def _become_the_job(self, job: dict[str, Any], descriptors: list[int]) -> None:
        """Give up everything that the keeper has, for good."""
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
        os.closerange(runner.RESULT + 1, 1024)
        os.setsid()
        if self._apart:
            isolation.mount_scratch(self._settings["scratch"])
        else:
            self._confine()
        _limit(job, self._settings)
        if self._user is not None:
            os.setgroups([])
            os.setresgid(self._user, self._user, self._user)
            os.setresuid(self._user, self._user, self._user)
        isolation.drop_privileges()
        filtered = isolation.filter_system_calls(signals=self._apart)
        if not (self._apart or filtered):
            os._exit(1)
        isolation.set_readable(True)  # or its own /proc/self were closed to it

    def _confine(self) -> None:
        directory = f"{self._settings['directory']}/{self._jobs}"
        os.mkdir(directory)
        os.chdir(directory)
        isolation.die_with_parent()
        settings = self._settings
        readable = (*isolation.SYSTEM, settings["interpreter"], *settings["packages"])
        isolation.drop_privileges()
        isolation.confine_files(readable, directory)

    def _end_all(self) -> None:
        """Kill and reap what the job started, wherever it went."""
        if self._apart:
            assert os.getpid() == 1, "kill(-1) is for the first process of a namespace"
            processes.send_signal(-1, isolation.KILL)
            processes.reap(blocking=True)
            return
        for _ in range(1000):
            left = processes.descendants(os.getpid())
            for number in (isolation.STOP, isolation.KILL):
                for pid in left:
                    processes.send_signal(pid, number)
            processes.reap(blocking=False)
            if not left:
                return
            time.sleep(0.001)

    def _waited(self) -> float:
        """Seconds that the job was ready to run and had no CPU."""
        try:
            with open(f"/proc/{self._pid}/schedstat", "rb") as file:
                return int(file.read().split()[1]) / 1e9
        except (OSError, IndexError):
            return 0.0

    def _taken(self) -> int:
        """Resident bytes of all processes of the job, but for those that they share with files."""
        if self._apart:
            pids = [
                int(name) for name in processes.listed("/proc") if name.isdigit() and name != "1"
            ]
        else:
            pids = processes.descendants(os.getpid())
        pages = 0
        for pid in pids:
            try:
                with open(f"/proc/{pid}/statm", "rb") as file:
                    _, resident, shared, *_ = file.read().split()
            except (OSError, ValueError):
                continue
            pages += int(resident) - int(shared)
        return pages * resource.getpagesize()


class Pipe:
    """The reading end of a job's output, up to a cap."""

    def __init__(self, descriptor: int, *, cap: int, tail: int) -> None:
        self._descriptor = descriptor
        self._cap = cap
        self._tail = tail
        self._seen = 0
        self._kept = bytearray()
        self.is_open = True

    @property
    def is_full(self) -> bool:
        return self._seen > self._cap

    def take(self) -> bool:
        """Read what there is; whether more may come."""
        try:
            piece = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return True
        self.is_open = bool(piece)
        self._seen += len(piece)
        self._kept += piece
        if self._tail:
            del self._kept[: -self._tail]
        return self.is_open

    def drain(self) -> None:
        """Read what is left; of a process that has ended."""
        seen = -1
        while self.is_open and not self.is_full and seen != self._seen:
            seen = self._seen
            self.take()

    def close(self) -> bytes:
        """What was read, no more than the cap."""
        os.close(self._descriptor)
        return bytes(self._kept[: self._cap])


def _limit(job: dict[str, Any], settings: dict[str, Any]) -> None:
    seconds = int(job["seconds"]) + 2
    for what, soft in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, job["memory"]),
        (resource.RLIMIT_NPROC, settings["processes"]),
        (resource.RLIMIT_FSIZE, settings["scratch"]),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_STACK, _STACK),
    ):
        _, hard = resource.getrlimit(what)
        least = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
        resource.setrlimit(what, (least, least))
