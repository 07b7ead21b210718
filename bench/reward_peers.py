"""One grader over one list of responses, in the environment that has it: started by bench.rewards.

    python bench/reward_peers.py JOB.json

The job names a grader and a task; each verdict goes to ``out`` as a line when it is there, so what
a grader that hangs had done by the time it is stopped is known.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import types
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as OutOfTime
from pathlib import Path
from typing import Any, TextIO

Grade = Callable[[str, str], float | None]
"""Gold and response; 1.0, 0.0, or None where there is no score."""

# A grader is imported where it is asked for: no environment has all of them.


def _hollow(*packages: str) -> None:
    """Make packages importable without running their ``__init__``.

    Raises:
        ModuleNotFoundError: they are not installed.
    """
    top = packages[0]
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {top!r}", name=top)
    place = Path(spec.submodule_search_locations[0])
    for name in packages:
        module = types.ModuleType(name)
        module.__path__ = [str(place.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module


VERL = ("verl", "verl.utils", "verl.utils.reward_score")
if __name__ == "__mp_main__":
    _hollow(*VERL)  # one of verl's own processes, which imports this file before it serves


def rlvr() -> Grade:
    from rlvr.rewards.math import grade  # noqa: PLC0415

    return lambda gold, text: grade(gold, text).reward


def math_verify() -> Grade:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify  # noqa: PLC0415

    configs = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
    return lambda gold, text: float(
        verify(parse(f"\\boxed{{{gold}}}", configs), parse(text, configs))
    )


def trl() -> Grade:
    from trl.rewards import accuracy_reward  # noqa: PLC0415

    return lambda gold, text: accuracy_reward([[{"content": text}]], [f"\\boxed{{{gold}}}"])[0]


def verl() -> Grade:
    # verl's own __init__ imports ray and tensordict, which a reward function does not need.
    _hollow(*VERL)
    from verl.utils.reward_score.math_verify import compute_score  # noqa: PLC0415

    return lambda gold, text: compute_score(text, gold)


def openrlhf() -> Grade:
    _hollow("openrlhf", "openrlhf.utils")
    from openrlhf.utils.math_utils import extract_boxed_answer, grade_answer  # noqa: PLC0415

    def grade(gold: str, text: str) -> float:
        answer = extract_boxed_answer(text)
        return float(answer is not None and grade_answer(answer, gold))

    return grade


GRADERS = {
    "rlvr": rlvr,
    "math-verify": math_verify,
    "TRL accuracy_reward": trl,
    "verl math_verify": verl,
    "OpenRLHF grade_answer": openrlhf,
}


def speed(grade: Grade, job: dict[str, Any], out: TextIO) -> None:
    """One response after the other, the first ones twice: they pay for imports and caches."""
    for gold, text in job["pairs"][: job["warm"]]:
        grade(gold, text)
    for place, (gold, text) in enumerate(job["pairs"]):
        began = time.perf_counter()
        score = grade(gold, text)
        _tell(out, place=place, score=score, seconds=time.perf_counter() - began)


def burst(grade: Grade, job: dict[str, Any], out: TextIO) -> None:
    """All at once on ``threads`` threads; a score that is not there after ``seconds`` is a 0."""
    began = time.perf_counter()
    threads = ThreadPoolExecutor(job["threads"])
    running: list[Future[float | None]] = [
        threads.submit(grade, gold, text) for gold, text in job["pairs"]
    ]
    for place, one in enumerate(running):
        left = max(0.0, job["seconds"] - (time.perf_counter() - began)) if job["seconds"] else None
        try:
            score = one.result(timeout=left)
        except OutOfTime:
            score = 0.0
        _tell(out, place=place, score=score, seconds=time.perf_counter() - began)


def recovery(grade: Grade, job: dict[str, Any], out: TextIO) -> None:
    """A right answer, one that hangs, the right one again."""
    for place, (gold, text) in enumerate(job["pairs"]):
        began = time.perf_counter()
        score = grade(gold, text)
        _tell(out, place=place, score=score, seconds=time.perf_counter() - began)


def _tell(out: TextIO, **row: object) -> None:
    out.write(json.dumps(row) + "\n")
    out.flush()


def main() -> None:
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    grade = GRADERS[job["grader"]]()
    task = {"speed": speed, "burst": burst, "recovery": recovery}[job["task"]]
    with open(job["out"], "w") as out:
        task(grade, job, out)
    os._exit(0)  # not waiting for threads that hang


if __name__ == "__main__":
    main()
