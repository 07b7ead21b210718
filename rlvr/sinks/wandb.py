"""Metrics for Weights & Biases; offline unless this user is logged in."""

from __future__ import annotations

import hashlib
import netrc
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb


class Wandb:
    """One W&B run per ``run_dir``, gone on with when the run resumes.

    Trouble with the service never ends a training run: a start that fails falls back to offline,
    a later failure switches this sink off, and each says so in a warning. An offline run is
    uploaded by ``wandb sync`` on its folder.

    Args:
        project: W&B project.
        mode: ``online`` or ``offline``; by default online for a user who is logged in.
        patience: longest wait for the service when starting and when closing (seconds).
    """

    def __init__(
        self,
        run_dir: str,
        run_name: str = "",
        project: str = "rlvr",
        mode: str | None = None,
        patience: float = 15.0,
    ) -> None:
        if mode not in (None, "online", "offline"):
            raise ValueError(f"mode={mode!r}: wandb is online or offline; null finds out")
        self._run_dir = Path(run_dir).absolute()
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._name = run_name or self._run_dir.name
        self._project = project
        self._patience = patience
        self._run: Any = None
        mode = mode or ("online" if logged_in() else "offline")
        if mode == "online":
            self._attempt("starting online, so this run is logged offline", self._start, mode)
        if self._run is None:
            self._attempt("starting offline", self._start, "offline")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._run is not None and not self._attempt(
            f"logging step {step}", self._run.log, dict(metrics), step
        ):
            self._run = None

    def resume(self, step: int) -> None:
        """W&B keeps the first value of a step and passes over what is logged for it again."""

    def close(self) -> None:
        if self._run is not None:
            self._attempt("closing", self._run.finish)
            self._run = None

    def _start(self, mode: str) -> None:
        self._run = wandb.init(
            project=self._project,
            name=self._name,
            dir=str(self._run_dir),
            id=self._id(mode),
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(
                mode=mode,  # pyright: ignore[reportArgumentType]
                console="off",
                silent=True,
                init_timeout=self._patience,
                finish_timeout=self._patience,
                finish_timeout_raises=True,
            ),
        )

    def _id(self, mode: str) -> str:
        # The same folder is the same run, in whichever process it goes on. A start that failed
        # online still holds its id, so the offline run has another.
        folder = hashlib.sha256(str(self._run_dir).encode()).hexdigest()[:16]
        return folder if mode == "online" else f"{folder}-offline"

    def _attempt(self, doing: str, call: Callable[..., Any], *args: Any) -> bool:
        try:
            call(*args)
        except Exception as error:  # Its internals raise classes of their own, all of them here.
            warnings.warn(
                f"wandb failed at {doing}: {type(error).__name__}: {error}. Metrics still go to "
                "the other sinks",
                stacklevel=3,
            )
            return False
        return True


def logged_in() -> bool:
    """Whether there is a key for the W&B host, in the environment or in the netrc file."""
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"] == "online"
    if os.environ.get("WANDB_API_KEY"):
        return True
    hosts = (urlparse(wandb.Settings().base_url).netloc, "api.wandb.ai")
    try:
        keys = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return False
    return any(keys.authenticators(host) for host in hosts)
