import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from rlvr.cluster.processes import end, family, stacks_of, tail

ROOT = Path(__file__).parents[2]


@pytest.fixture
def python():
    """Starts a script and returns its process once it has printed a line."""
    started = []

    def start(script, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait(10)
        process.stdout.close()


HANGS = """
import pathlib, sys, time
from rlvr.cluster.processes import answer_dumps
def guilty():
    print("up", flush=True)
    time.sleep(60)
kept = answer_dumps(pathlib.Path(sys.argv[1]))
guilty()
"""
HAS_A_CHILD = """
import subprocess, time
from rlvr.cluster.processes import guard_group
if {guarded}:
    guard_group()
print(subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL).pid, flush=True)
time.sleep(60)
"""


def test_a_process_that_hangs_tells_where(python, tmp_path):
    path = tmp_path / "stacks"
    process, _ = python(HANGS, path)
    assert "in guilty" in stacks_of(process.pid, path, 5)
    assert stacks_of(process.pid, path, 5).count("in guilty") == 1, "an earlier answer is repeated"


def test_a_process_that_was_stopped_gives_no_answer_within_the_bound(python, tmp_path):
    path = tmp_path / "stacks"
    process, _ = python(HANGS, path)
    process.send_signal(signal.SIGSTOP)
    assert stacks_of(process.pid, path, 0.3) == "no answer within 0.3 s: the process is stopped"


def test_a_process_that_does_not_answer_dumps_is_not_signalled(python, tmp_path):
    process, _ = python("import time; print('up', flush=True); time.sleep(60)")
    assert "has not registered" in stacks_of(process.pid, tmp_path / "none", 1)
    assert process.poll() is None


def test_a_process_that_is_gone_is_said_to_be(python, tmp_path):
    process, _ = python("print('up')")
    process.wait(10)
    assert "gone" in stacks_of(process.pid, tmp_path / "none", 1)


def test_a_family_ends_together(python):
    process, child = python(HAS_A_CHILD.format(guarded=False))
    members = family([process.pid])
    assert {pid for pid, _ in members} == {process.pid, int(child)}
    assert end(members, patience=0, seconds=10) == []
    assert process.wait(10) == -signal.SIGKILL
    assert not runs(int(child))


def test_a_process_of_the_same_pid_but_another_age_is_spared():
    me = os.getpid()
    assert end([(me, 0.0)], patience=0, seconds=0) == []


def test_children_of_a_guarded_process_die_when_it_is_killed(python):
    process, child = python(HAS_A_CHILD.format(guarded=True))
    created = psutil.Process(int(child)).create_time()
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    left = end([(int(child), created)], patience=10, seconds=0)
    assert left == []


def test_the_tail_of_a_log_is_its_last_lines(tmp_path):
    path = tmp_path / "log"
    path.write_text("".join(f"line {i}\n" for i in range(1000)))
    assert tail(path, 2) == "line 998\nline 999"
    assert tail(tmp_path / "none", 2) == "(No such file or directory on this node)"


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
