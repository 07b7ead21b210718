"""Runs Python that nobody trusts, in processes that see no network, no files and no others.

    with Sandbox().open() as box:
        box.run(Program(source="print(input()[::-1])", stdin=b"abc"), seconds=2.0).stdout

One interpreter starts per sandbox, and each job is a fork of it: a few milliseconds, fresh state,
fresh files. ``keeper`` is the inner side, ``isolation`` what it asks of the kernel.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlvr.rewards.sandbox import isolation, keeper
from rlvr.rewards.sandbox.jobs import Job, Run, Script

_START_SECONDS = 30.0
_GRACE_SECONDS = 10.0
"""Past a job's own limits until its keeper is given up."""
_PROJECT = str(Path(__file__).resolve().parents[3])
_MAIN = "import sys; from rlvr.rewards.sandbox.keeper import main; main(*map(int, sys.argv[1:]))()"
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONPATH": _PROJECT,
    "PYTHONUTF8": "1",
    "PYTHONHASHSEED": "0",  # the same program prints the same set in the same order
    "PYTHONINTMAXSTRDIGITS": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class SandboxError(RuntimeError):
    """No sandbox can be made here, or its keeper failed. Never the fault of what ran in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """The limits of a sandbox."""

    isolation: Literal["full", "best_effort"] = "full"
    """``full`` refuses where the kernel grants no namespaces. ``best_effort`` then relies on a
    filter of system calls (no sockets, no signals) and on Landlock, where there is one, for the
    files; jobs see the machine's processes, and without Landlock its files too."""
    memory_mb: int = 1024
    """Address space of one process, and resident memory of all processes of a job (MiB)."""
    scratch_mb: int = 64
    """What a job may write to /tmp, its only writable directory (MiB)."""
    output_mb: float = 4.0
    """Past this much on stdout, stderr or as its result a job is killed (MiB)."""
    processes: int = 32
    """Processes and threads of a job."""
    packages: tuple[str, ...] = ()
    """Directories of packages that a job may import beside the standard library."""

    def __post_init__(self) -> None:
        if self.isolation not in ("full", "best_effort"):
            raise ValueError(
                f"isolation={self.isolation!r} is unknown; take full, or best_effort where the "
                "kernel grants no namespaces"
            )
        limits = {
            "memory_mb": (self.memory_mb, 64),
            "scratch_mb": (self.scratch_mb, 1),
            "output_mb": (self.output_mb, 0.01),
            "processes": (self.processes, 1),
        }
        for name, (value, least) in limits.items():
            if value < least:
                raise ValueError(
                    f"{name}={value}: a Python program needs more; give {least} at least"
                )
        for directory in self.packages:
            if not Path(directory).is_dir() or Path(directory).is_relative_to("/tmp"):
                raise ValueError(
                    f"packages={directory!r} is no directory outside /tmp, which a job has for "
                    "itself; name one that holds packages, such as a site-packages"
                )

    @contextmanager
    def open(self) -> Generator[Box]:
        """A sandbox that takes jobs until the block ends; all of its processes end with it.

        Raises:
            SandboxError: it cannot be made; says what is missing.
        """
        with ExitStack() as stack:
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            with theirs:
                process = _launch(theirs.fileno())
            stack.callback(_end, process)
            directory = ""
            if self.isolation == "best_effort":
                directory = stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True)
                )
                user = isolation.unused_user(process.pid)
                if os.geteuid() == 0:
                    with suppress(OSError):  # a root that owns one user alone stays that user
                        os.chown(directory, user, user)
            box = Box(limits=self, control=ours, process=process)
            box.start(self._settings(directory))
            yield box

    def _settings(self, directory: str) -> dict[str, Any]:
        return {
            "best_effort": self.isolation == "best_effort",
            "packages": self.packages,
            "interpreter": sys.base_prefix,
            "scratch": self.scratch_mb << 20,
            "processes": self.processes,
            "directory": directory,
        }


class Box:
    """An open sandbox."""

    def __init__(
        self, *, limits: Sandbox, control: socket.socket, process: subprocess.Popen[bytes]
    ) -> None:
        self._limits = limits
        self._control = control
        self._process = process
        self.isolation = ""
        """``namespaces`` or ``best effort``: what it was granted."""

    @property
    def is_alive(self) -> bool:
        """Whether its processes still run."""
        return self._process.poll() is None

    def start(self, settings: dict[str, Any]) -> None:
        """Wait until it is ready.

        Raises:
            SandboxError: says what the kernel refused, and the remedy.
        """
        kind, text = self._ask(settings, _START_SECONDS)
        if kind != keeper.READY:
            raise SandboxError(
                f"this machine cannot isolate code: {text.decode()}. Allow unprivileged user "
                "namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
                "kernel.apparmor_restrict_unprivileged_userns=0; of a container: --cap-add "
                "SYS_ADMIN or a seccomp profile that allows unshare), or accept less with "
                "isolation: best_effort"
            )
        self.isolation = text.decode()

    def run(self, job: Job, *, seconds: float, wall_seconds: float | None = None) -> Run:
        """Run a job to its end or to its limits.

        ``seconds`` bounds its time, without the time that it was ready to run but had no CPU;
        ``wall_seconds`` bounds both together (four times ``seconds`` by default).

        Raises:
            SandboxError: the sandbox failed, and must not be used again.
        """
        wall_seconds = 4 * seconds if wall_seconds is None else wall_seconds
        order = {
            "kind": type(job).__name__.lower(),
            "seconds": seconds,
            "wall_seconds": wall_seconds,
            "memory": self._limits.memory_mb << 20,
            "output": int(self._limits.output_mb * 2**20),
            "packages": list(self._limits.packages),
            "hidden": [_PROJECT],
            "name": "",
            "stdin": b"",
            **{name: getattr(job, name) for name in job.__slots__},
        }
        if isinstance(job, Script):
            order["stdin"] = job.token
        kind, payload = self._ask(order, wall_seconds + _GRACE_SECONDS)
        if kind != keeper.FINISHED:
            raise SandboxError(payload.decode())
        return _read(payload)

    def _ask(self, message: dict[str, Any], seconds: float) -> tuple[bytes, bytes]:
        deadline = time.monotonic() + seconds
        data = marshal.dumps(message)
        try:
            self._control.settimeout(seconds)
            self._control.sendall(keeper.HEADER.pack(len(data)) + data)
            reply = keeper.receive(lambda size: self._read(size, deadline))
        except (OSError, EOFError) as e:
            raise SandboxError(f"the sandbox {self._died(e)}") from e
        return reply[:1], reply[1:]

    def _read(self, size: int, deadline: float) -> bytes:
        self._control.settimeout(max(deadline - time.monotonic(), 1e-3))
        return self._control.recv(size)

    def _died(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return "gave no answer in time"
        _end(self._process)
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        said = self._process.stderr.read() or b""
        return f"died: {said[-1000:].decode(errors='replace').strip() or 'it left no word'}"


def _read(payload: bytes) -> Run:
    stopped: int
    code, stopped, seconds, used, *sizes = keeper.DONE.unpack_from(payload)
    texts: list[bytes] = []
    start = keeper.DONE.size
    for size in sizes:
        texts.append(payload[start : start + size])
        start += size
    stdout, stderr, result = texts
    return Run(
        code=code,
        stopped=keeper.STOPPED[stopped],
        stdout=stdout,
        stderr=stderr,
        result=result,
        seconds=seconds,
        used=used,
    )


def _launch(descriptor: int) -> subprocess.Popen[bytes]:
    flags = ("-S", "-s", "-P", "-B")  # no site-packages, nothing of the user's, nothing written
    try:
        return subprocess.Popen(
            [sys.executable, *flags, "-c", _MAIN, str(descriptor), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[descriptor],
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as e:
        raise SandboxError(f"a process for the sandbox cannot be made: {e}") from e


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the launcher; the kernel kills the keeper with it, and with that its namespace."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.wait(_GRACE_SECONDS)
