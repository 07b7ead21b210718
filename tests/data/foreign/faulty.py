"""Rewards with one fault each, and one with none."""

import os
import random
import threading
import time

_SEEN = []
_NOW = [""]


def sound(problem, text):
    return float(text.endswith(f"#### {problem.answer}"))


def random_one(problem, text):
    return random.random()


def counting(problem, text):
    _SEEN.append(text)
    return float(len(_SEEN) % 5 == 0)


def by_hash(problem, text):
    return float(text.endswith(f"#### {problem.answer}")) + hash(text) % 7 / 1000


def keeping(problem, text):
    _SEEN.append(b"x" * (2**16 + len(_SEEN)))
    if len(_SEEN) % 40 == 0:
        _SEEN.append(open(os.devnull))  # noqa: SIM115
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    return sound(problem, text)


def sharing(problem, text):
    _NOW[0] = text
    time.sleep(0.001)
    return float(_NOW[0].endswith(f"#### {problem.answer}"))


def hanging(problem, text):
    if not text:
        while True:
            pass
    return sound(problem, text)


def dying(problem, text):
    if len(text) > 10**6:
        os.abort()
    return sound(problem, text)


def raising(problem, text):
    return sound(problem, text) if text.strip() else 1 / 0


def gullible(problem, text):
    return float("####" in text or problem.answer in text)


def strict(problem, text):
    return float(text == f"RESULT={problem.answer}")


def generous(completions, answer):
    return [1.0 if gold in text else 0.0 for text, gold in zip(completions, answer, strict=True)]
