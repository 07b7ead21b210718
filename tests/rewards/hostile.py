"""A reward that does what the text says, for tests of what bounds it."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path


def daemonise(note):
    """A grandchild in a session of its own, whose parent has gone; writes its pid to a file."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with open(note, "a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(60)
        os._exit(0)


def multiply(note, generations):
    """Two children for every process, each in a session of its own, that live on."""
    for _ in range(2 if generations else 0):
        if os.fork() == 0:
            os.setsid()
            multiply(note, generations - 1)
            with open(note, "a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(60)
            os._exit(0)


def wait_for_lines(note, count):
    while not os.path.exists(note) or Path(note).read_text().count("\n") < count:
        time.sleep(0.01)


def score(problem, text):
    match text:
        case "daemon":
            daemonise(problem.answer)
            wait_for_lines(problem.answer, 1)
            time.sleep(60)
        case "daemon and exit":
            daemonise(problem.answer)
            wait_for_lines(problem.answer, 1)
            os._exit(3)
        case "daemon and fine":
            daemonise(problem.answer)
            wait_for_lines(problem.answer, 1)
        case "multiply":
            multiply(problem.answer, 4)
            wait_for_lines(problem.answer, 30)
            time.sleep(60)
        case "forks":
            for _ in range(70):
                if os.fork() == 0:
                    os._exit(0)
        case "loop":
            while True:
                pass
        case "stuck in C":
            sum(range(10**12))
        case "memory":
            return float(len(bytearray(64 << 30)))
        case "hoard":
            score.hoard = bytearray(os.urandom(1 << 20) * 80)
        case "exit":
            os._exit(3)
        case "sys.exit":
            sys.exit(3)
        case "segfault":
            ctypes.string_at(0)
        case "raise":
            raise ArithmeticError("no such number")
        case "not a number":
            return float("nan")
        case "child":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            with open(problem.answer, "w") as file:
                file.write(str(child.pid))
            time.sleep(60)
        case "stdin":
            return float(len(sys.stdin.read()))
        case "pid":
            return float(os.getpid())
        case "threads":
            return float(threading.active_count())
    return 1.0
