import os
import sys
from pathlib import Path

import psutil
import pytest

from bench.watched import Process, watch


def watched(code: str, path: Path, limit: float = 30.0) -> Process:
    return watch(
        [sys.executable, "-c", code],
        cwd=path,
        log=path / "log",
        env=os.environ,
        limit=limit,
        first_line=path / "lines",
    )


@pytest.mark.slow
def test_it_sees_memory_and_the_first_line_of_a_command(tmp_path: Path):
    code = "import time; open('lines', 'w').write('x\\n'); time.sleep(2.5)"
    seen = watched(code, tmp_path)
    assert seen.first_line_seconds is not None
    assert seen.first_line_seconds <= seen.wall_seconds
    assert seen.peak_mb > 1


def test_a_command_that_fails_is_an_error_with_its_last_words(tmp_path: Path):
    with pytest.raises(RuntimeError, match="no such model"):
        watched("raise SystemExit('no such model')", tmp_path)


@pytest.mark.slow
def test_a_command_past_its_limit_is_ended_with_what_it_has_started(tmp_path: Path):
    code = (
        "import subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "open('lines', 'w').write(str(child.pid)); time.sleep(60)"
    )
    with pytest.raises(RuntimeError, match="--limit-seconds"):
        watched(code, tmp_path, limit=1.5)
    assert not psutil.pid_exists(int((tmp_path / "lines").read_text()))
