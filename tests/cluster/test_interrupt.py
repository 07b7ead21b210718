import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import asyncio
from rlvr.cluster.interrupt import interruptible
async def main():
    with interruptible() as stop:
        try:
            print("up", flush=True)
            await asyncio.wait_for(stop.wait(), 20)
            print("asked to stop", flush=True)
            await asyncio.sleep(20)
        finally:
            print("cleaning up", flush=True)
            await asyncio.sleep({cleanup})
            print("cleaned up", flush=True)
asyncio.run(main())
"""


@pytest.fixture
def script():
    started = []

    def start(cleanup):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(cleanup=cleanup)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        assert line(process) == "up"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(10)
        process.stdout.close()


def line(process):
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_cancels_with_a_clean_up(script, number):
    process = script(cleanup=0.01)
    process.send_signal(number)
    assert line(process) == "asked to stop"
    process.send_signal(number)
    assert line(process) == "cleaning up"
    assert line(process) == "cleaned up"
    assert process.wait(10) == 1


def test_the_third_ends_the_process_whatever_it_does(script):
    process = script(cleanup=20)
    for expected in ("asked to stop", "cleaning up"):
        process.send_signal(signal.SIGTERM)
        assert line(process) == expected
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM


def test_afterwards_signals_mean_what_they_meant_before():
    code = """
import asyncio, os, signal
from rlvr.cluster.interrupt import interruptible
before = signal.signal(signal.SIGTERM, lambda *_: print("mine"))
async def main():
    with interruptible():
        pass
asyncio.run(main())
os.kill(os.getpid(), signal.SIGTERM)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ended.returncode, ended.stdout) == (0, "mine\n"), ended.stderr
