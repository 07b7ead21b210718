"""One unit test of a program: the job that it is in the sandbox, and what the run shows."""

from __future__ import annotations

import json
import secrets
from enum import StrEnum
from typing import Any

from rlvr.rewards.sandbox import plain
from rlvr.rewards.sandbox.jobs import Call, Expression, Job, Program, Run, Script
from rlvr.rewards.unit_tests.assertions import Source, Value
from rlvr.rewards.unit_tests.layouts import CallResult, InputOutput, UnitTest
from rlvr.rewards.unit_tests.outputs import same_output, same_value

_SHOWN = 200
_SHARE = 0.9
"""Of its time that a program must have had for its overrun to be its own."""
_NOTHING = object()


class Finding(StrEnum):
    """How a program did in one test. The last is about the machine and not about the program."""

    PASSED = "passed"
    FAILED = "failed"
    OVERRAN = "overran"
    STARVED = "starved"


def job_of(test: UnitTest, source: str, prelude: str) -> Job:
    """What runs in the sandbox; expected values are left out of it wherever they can be."""
    match test:
        case InputOutput():
            return Program(source=source, stdin=test.stdin.encode("utf-8", "replace"))
        case CallResult():
            return Call(source=source, name=test.name, arguments=test.arguments, prelude=prelude)
        case Value():
            return Expression(
                source=source, expression=test.expression, setup=test.setup, prelude=prelude
            )
        case Source():
            return Script(
                source=source,
                tests=test.tests,
                token=secrets.token_bytes(32),
                name=test.name,
                setup=test.setup,
                prelude=prelude,
            )


def finding(test: UnitTest, job: Job, run: Run, seconds: float) -> tuple[Finding, str]:
    """What a run that was given ``seconds`` shows, and why for people."""
    if run.stopped == "time":
        if run.used < _SHARE * seconds:
            return Finding.STARVED, f"it had {run.used:.1f} of its {seconds:.1f} s"
        return Finding.OVERRAN, f"not done after {run.seconds:.1f} s"
    if run.stopped:
        return Finding.FAILED, f"more {run.stopped} than allowed"
    if run.code:
        ended = f"exit code {run.code}" if run.code > 0 else f"signal {-run.code}"
        said = run.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return Finding.FAILED, f"{ended}: {said[-_SHOWN:]}"
    passed, why = _passed(test, job, run)
    return (Finding.PASSED if passed else Finding.FAILED), why


def _passed(test: UnitTest, job: Job, run: Run) -> tuple[bool, str]:
    if isinstance(test, InputOutput):
        printed = run.stdout.decode(errors="replace")
        return same_output(test.stdout, printed), f"printed {printed[:_SHOWN]!r}"
    if isinstance(job, Script):
        return run.result == job.token, "the tests did not reach their end"
    try:
        value = _value(run.result)
        passed = value is not _NOTHING and _accepts(test, value)
    except (RecursionError, OverflowError) as e:  # nested or large beyond what is compared
        return False, f"a result that cannot be compared: {e}"
    return passed, f"returned {run.result[:_SHOWN].decode(errors='replace') or 'nothing'}"


def _value(result: bytes) -> Any:
    try:
        return plain.decoded(json.loads(result))
    except (ValueError, TypeError, AttributeError):
        return _NOTHING  # ended before it returned, or wrote there itself


def _accepts(test: UnitTest, value: Any) -> bool:
    match test:
        case CallResult(wrapped=True, expected=[single]) if same_value(single, value):
            return True
        case CallResult():
            return same_value(test.expected, value)
        case Value():
            return test.accepts(value)
        case _:
            return False
