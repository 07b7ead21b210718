"""This process's connection to Ray: what it starts on this machine, and that it all ends."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import ray

from rlvr.cluster.processes import family, guard
from rlvr.config import ClusterConfig, ConfigError

CHECKOUT = Path(__file__).parents[2]
GUARD_SECONDS = 10.0
"""For the guard to be gone once it is killed."""
LEAST_STORE, LARGEST_STORE = 80 * 2**20, 1024 * 2**20
"""Bytes of shared memory for Ray's object store; the least is Ray's own limit."""

_ray = cast(Any, ray)


class Session:
    """One at a time in a process."""

    def __init__(self, config: ClusterConfig, logs: Path) -> None:
        self._config = config
        self._logs = logs
        self._connected = False
        self._temp: Path | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._terminal: list[logging.Handler] | None = None
        """Where Ray's messages went before they went to a file."""

    def join(self, *, cores: int) -> None:
        """Start Ray here, with room for workers on so many cores, or join the one at the address.
        Bounded by Ray itself, which gives up on a node that does not come up.

        Raises:
            ConfigError: nothing answers at the address.
        """
        logger = logging.getLogger("ray")
        self._terminal, logger.handlers = logger.handlers, []
        logger.addHandler(logging.FileHandler(self._logs / "ray.log"))
        # Says at each start that the cluster asks for a token, which it does unless told not to.
        logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
        local = self._config.address is None
        settings = self._local_settings(cores) if local else {"address": self._config.address}
        terminate = signal.getsignal(signal.SIGTERM)
        before = set(family([os.getpid()]))
        self._connected = True  # from here on there may be something to leave
        try:
            _ray.init(
                **settings,
                configure_logging=False,
                log_to_driver=False,
                runtime_env={"env_vars": {"PYTHONPATH": python_path(self._config.env)}},
            )
        except ConnectionError as error:
            raise ConfigError(
                f"cluster.address={self._config.address}: {error}. Check it with `ray status` on "
                "this machine; a cluster that asks for a token needs RAY_AUTH_MODE=token here and "
                "the same token as there (RAY_AUTH_TOKEN_PATH). Null starts Ray on this machine"
            ) from error
        finally:
            # Ray puts its own handler there, which ends the process without a checkpoint.
            with suppress(ValueError):  # not the main thread: Ray can't have changed it
                signal.signal(signal.SIGTERM, terminate)
        started = set(family([os.getpid()])) - before
        if started:
            # Ray's agents wait a minute for its dead head before they follow a killed driver.
            self._guard = guard(pid for pid, _ in started)

    def leave(self) -> None:
        """Whatever part of ``join`` was reached is undone; a second time does nothing."""
        if self._connected:
            _ray.shutdown()
            self._connected = False
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait(GUARD_SECONDS)
            self._guard = None
        if self._temp is not None:
            for logs in self._temp.glob("session_2*/logs"):
                shutil.copytree(logs, self._logs / "ray", dirs_exist_ok=True)
            shutil.rmtree(self._temp, ignore_errors=True)
            self._temp = None
        if self._terminal is not None:
            logger = logging.getLogger("ray")
            for handler in logger.handlers:
                handler.close()
            logger.handlers, self._terminal = self._terminal, None

    def _local_settings(self, cores: int) -> dict[str, Any]:
        """Cores are book-keeping here, so a small machine may hold more workers than cores."""
        # Not under TMPDIR or the run: Ray's sockets lie deep below, and 107 bytes is the limit.
        self._temp = Path(tempfile.mkdtemp(prefix="rlvr-", dir="/tmp"))
        # Batches pass through it, and what does not fit goes to disk.
        shared = shutil.disk_usage("/dev/shm").free
        return {
            "address": "local",  # never a cluster that RAY_ADDRESS happens to name
            "include_dashboard": False,
            "num_cpus": max(os.cpu_count() or 1, cores),
            "object_store_memory": min(LARGEST_STORE, max(LEAST_STORE, shared // 4)),
            "_temp_dir": str(self._temp),
            "_system_config": {
                "prestart_worker_first_driver": False,  # they lack the workers' environment
                "enable_metrics_collection": False,
            },
        }


def python_path(env: Mapping[str, str]) -> str:
    """Workers import the driver's own checkout, whatever else is installed on their node."""
    rest = env.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    return os.pathsep.join(filter(None, [str(CHECKOUT), rest]))
