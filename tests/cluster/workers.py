"""Small classes that tests run in worker processes."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

FLAG_AT_IMPORT = os.environ.get("FLAG")


class NeedsArguments(Exception):
    """Pickles, but does not unpickle."""

    def __init__(self, *, value):
        super().__init__(f"value is {value}")


class Toy:
    def __init__(self, start=0):
        self.start = start
        self.cancelled = False

    def add(self, a, b=0):
        return self.start + a + b

    def started_with(self):
        return self.start

    async def add_later(self, a):
        await asyncio.sleep(0.01)
        return self.start + a

    def refuse(self):
        raise ZeroDivisionError("nothing to share")

    def refuse_with_a_timeout(self):
        raise TimeoutError("the worker's own")

    def refuse_unpicklably(self):
        raise NeedsArguments(value=3)

    def environment(self):
        return FLAG_AT_IMPORT, os.environ["OMP_NUM_THREADS"], os.environ["CUDA_VISIBLE_DEVICES"]

    def modules(self):
        return {name for name in ("ray", "torch") if name in sys.modules}

    def thread(self):
        return threading.current_thread().name

    def sleep_in_a_thread(self, seconds):
        time.sleep(seconds)

    async def wait_for_nothing(self):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def block_the_loop(self, seconds):
        time.sleep(seconds)

    def was_cancelled(self):
        return self.cancelled

    def say_and_die(self, last_words):
        sys.stdout.write(last_words)
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    def have_a_child(self):
        return subprocess.Popen(["sleep", "600"]).pid

    def pid(self):
        return os.getpid()


class Unmakeable:
    def __init__(self):
        raise FileNotFoundError("no such model")


class Unclosable(Toy):
    def close(self):
        time.sleep(600)


class Closable(Toy):
    def close(self):
        sys.stdout.write("closed\n")
        sys.stdout.flush()
