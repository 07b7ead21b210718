"""Checkpoints that are whole or not there.

    run_dir/checkpoints/step-000050/learner/     DeepSpeed's own files and the RNG states, per rank
                                    hf/          weights and tokenizer, for ``from_pretrained``
                                    loop.pkl     stream, filter, groups in hand, counters
                                    MANIFEST.json  sizes and SHA-256 of all of these; written last
                        latest                   names the newest

A checkpoint is written aside, flushed to disk, and renamed. DeepSpeed's own ``latest`` is not used:
it is written before the other ranks have finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

MANIFEST = "MANIFEST.json"
FORMAT = 1


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used, and why."""


class Learner(Protocol):
    async def save(self, directory: str) -> None: ...
    async def export_hf(self, directory: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint on disk."""

    path: Path
    step: int
    about: Mapping[str, Any]
    """What the run said of itself when it saved: recipe, seed, data, ranks."""

    @property
    def learner(self) -> Path:
        return self.path / "learner"

    @property
    def hf(self) -> Path:
        return self.path / "hf"

    def loop_state(self) -> dict[str, Any]:
        return pickle.loads((self.path / "loop.pkl").read_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """The checkpoints of one run. ``keep`` newest stay."""

    root: Path
    keep: int = 2

    async def save(
        self, learner: Learner, step: int, state: Mapping[str, Any], about: Mapping[str, Any]
    ) -> Checkpoint:
        """Write one; on return it is complete and ``latest`` names it."""
        name = f"step-{step:06d}"
        aside = self.root / f".tmp-{name}"
        shutil.rmtree(aside, ignore_errors=True)
        for part in ("learner", "hf"):
            (aside / part).mkdir(parents=True)
        await learner.save(str(aside / "learner"))
        await learner.export_hf(str(aside / "hf"))
        (aside / "loop.pkl").write_bytes(pickle.dumps(dict(state)))
        manifest = {
            "format": FORMAT,
            "step": step,
            "saved_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "about": dict(about),
            "files": {str(p.relative_to(aside)): _fingerprint(p) for p in _files(aside)},
        }
        _write_durably(aside / MANIFEST, json.dumps(manifest, indent=1))
        final = self.root / name
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
        _write_durably(self.root / "latest.new", name)
        (self.root / "latest.new").replace(self.root / "latest")
        _sync_directory(self.root)
        self._prune(final)
        return Checkpoint(path=final, step=step, about=about)

    def latest(self) -> Checkpoint | None:
        """The checkpoint that ``latest`` names, or the newest other one if that is damaged.

        Every hash is checked. None where there is no checkpoint.

        Raises:
            CheckpointError: there are some, and none of them is usable.
        """
        pointer = self.root / "latest"
        named = self.root / pointer.read_text() if pointer.is_file() else None
        # A run that began anew, or from an older checkpoint, may have left newer steps behind.
        found = sorted(self.root.glob("step-*"), key=lambda path: (path == named, path.name))[::-1]
        problems: list[str] = []
        for path in found:
            try:
                return open_checkpoint(path)
            except CheckpointError as error:
                problems.append(str(error))
        if problems:
            raise CheckpointError(
                "no usable checkpoint, though there are some: " + "; ".join(problems) + ". Restore "
                "one, or start anew with checkpoint.resume=never"
            )
        return None

    def _prune(self, newest: Path) -> None:
        older = sorted(path for path in self.root.glob("step-*") if path.name < newest.name)
        for path in older[: max(0, len(older) - self.keep + 1)]:
            shutil.rmtree(path)
        for path in self.root.glob(".tmp-*"):
            shutil.rmtree(path)


def open_checkpoint(path: Path) -> Checkpoint:
    """Check every file against the manifest.

    Raises:
        CheckpointError: the manifest or a file is missing, cut short or altered; names it.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{path} has no {MANIFEST}: it is no complete checkpoint") from None
    except ValueError as error:
        raise CheckpointError(f"{path / MANIFEST} is damaged ({error})") from None
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {manifest.get('format')!r}, this version reads {FORMAT}"
        )
    for name, expected in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{file} is missing though the manifest lists it")
        if _fingerprint(file) != expected:
            raise CheckpointError(f"{file} is not what was saved (its size or SHA-256 differs)")
    return Checkpoint(path=path, step=manifest["step"], about=manifest["about"])


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _fingerprint(path: Path) -> dict[str, Any]:
    """Size and hash of a file that is on disk to stay."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def _write_durably(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
