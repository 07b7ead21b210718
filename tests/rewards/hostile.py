"""A reward that does what the text says, for tests of what bounds it."""

import ctypes
import os
import subprocess
import sys
import threading
import time


def score(problem, text):
    match text:
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
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            with open(problem.answer, "w") as file:
                file.write(str(child.pid))
            time.sleep(600)
        case "stdin":
            return float(len(sys.stdin.read()))
        case "pid":
            return float(os.getpid())
        case "threads":
            return float(threading.active_count())
    return 1.0
