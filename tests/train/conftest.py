"""Whole runs as a user starts them: the command, in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
SMALL = (
    "problems.size=64",
    "evaluation.problems.size=12",
    "evaluation.samples=2",
    "problems_per_step=4",
    "rollouts_per_problem=4",
    "rollout.workers=1",
    "sampling.max_tokens=64",
    "reward_service.processes=1",
)


@dataclass(frozen=True)
class Outcome:
    code: int
    output: str
    run_dir: Path

    @property
    def steps(self) -> list[dict]:
        """The metrics of each training step."""
        lines = (self.run_dir / "metrics.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if "actor/grad_norm" in row]

    @property
    def summary(self) -> dict:
        return json.loads((self.run_dir / "summary.json").read_text())


def command(*settings: str) -> list[str]:
    return [sys.executable, "-m", "rlvr.train", *settings]


def environment() -> dict[str, str]:
    return os.environ | {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}


def train(run_dir: Path, *settings: str) -> Outcome:
    """Run to the end; what it started must be gone by then."""
    before = set(psutil.pids())
    done = subprocess.run(
        command(*settings, f"run_dir={run_dir}"),
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
        env=environment(),
    )
    outcome = Outcome(done.returncode, done.stdout + done.stderr, run_dir)
    assert orphans(before) == [], outcome.output
    return outcome


def orphans(before: set[int]) -> list[str]:
    """Workers and Ray processes that were not there before."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        words = " ".join(process.info["cmdline"] or ())
        if process.info["pid"] in before or process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        if any(word in words for word in ("ray::", "raylet", "gcs_server", "rlvr.rewards")):
            found.append(words[:120])
    return found


@pytest.fixture(scope="session")
def base_model(tmp_path_factory) -> Path:
    """The arithmetic model after a short warm-up: writes answers, mostly wrong ones."""
    out = tmp_path_factory.mktemp("base") / "model"
    make(out, "--steps", "150")
    return out


@pytest.fixture(scope="session")
def random_model(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("random") / "model"
    make(out, "--random")
    return out


def make(out: Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "rlvr.tiny", "--out", str(out), *arguments],
        check=True,
        timeout=120,
        capture_output=True,
        cwd=ROOT,
    )
