"""What a fork of the sandbox's keeper does: runs a program, a function or tests.

Everything here shares its process with code that nobody trusts. What it says is worth as much as
that code's own word, but for the token of ``script``.
"""

from __future__ import annotations

import builtins
import os
import sys

from rlvr.rewards.sandbox import plain

# Annotations alone need more; these imports are paid for by every sandbox that starts.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_COMMON = (
    *("bisect", "collections", "functools", "heapq", "itertools", "json", "math"),
    *("random", "re", "string", "typing"),
)
RESULT = 3
"""The descriptor on which a job leaves its result."""


def preload(job: dict[str, Any]) -> None:
    """Import for all forks to come what the job is going to import, of the common modules."""
    for name in _COMMON:
        if job["kind"] != "program" or name in job["source"]:
            __import__(name)


def runner(job: dict[str, Any]) -> Callable[[], None]:
    """What the fork is to run, with nothing of this project left to import."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "rlvr"]:
        del sys.modules[name]
    sys.path[:] = [path for path in sys.path if path not in job["hidden"]] + job["packages"]
    sys.argv = ["solution.py"]
    kinds = {"program": _program, "call": _call, "expression": _expression, "script": _script}
    run = kinds[job["kind"]]
    return lambda: run(job)


def _module(name: str) -> dict[str, Any]:
    module: Any = type(sys)(name)
    sys.modules[name] = module
    return module.__dict__


def _program(job: dict[str, Any]) -> None:
    """Run as ``python solution.py`` does, but without taking the interpreter apart at the end,
    which takes longer than most programs."""
    names = _module("__main__")
    code = 0
    try:
        exec(compile(job["source"], "solution.py", "exec"), names)
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException as e:
        e.__traceback__ = e.__traceback__ and e.__traceback__.tb_next
        sys.excepthook(type(e), e, e.__traceback__)
        code = 1
    threads: Any = sys.modules.get("threading")
    if threads is not None:
        threads._shutdown()
    exits: Any = sys.modules.get("atexit")
    if exits is not None:
        exits._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code & 0xFF)


def _defined(job: dict[str, Any]) -> dict[str, Any]:
    names = _module("solution")
    exec(compile(job["prelude"], "prelude.py", "exec"), names)
    exec(compile(job["source"], "solution.py", "exec"), names)
    return names


def _named(names: dict[str, Any], name: str) -> Any:
    """A function, a method of the class ``Solution``, or what an expression names."""
    if not name.isidentifier():
        return eval(compile(name, "name.py", "eval"), names)
    if name not in names and "Solution" in names:
        return getattr(names["Solution"](), name)
    return names[name]


def _call(job: dict[str, Any]) -> None:
    _leave(_named(_defined(job), job["name"])(*job["arguments"]))


def _expression(job: dict[str, Any]) -> None:
    names = _defined(job)
    exec(compile(job["setup"], "setup.py", "exec"), names)
    _leave(eval(compile(job["expression"], "test.py", "eval"), names))


def _script(job: dict[str, Any]) -> None:
    """Run tests in the process of what they test; the token comes back only if none fails."""
    token = os.read(0, 64)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    kept = dict(builtins.__dict__)
    names = dict(_defined(job))
    sys.settrace(None)
    sys.setprofile(None)
    _restore(kept)
    entry = job["name"]
    tests = {name: value for name, value in names.items() if name == entry or name not in kept}
    candidate = _plainly(_named(names, entry), kept) if entry else None
    if entry.isidentifier():
        tests[entry] = candidate
    tests |= {"__name__": "tests", "__builtins__": builtins, "candidate": candidate}
    before = dict(tests)
    exec(compile(job["setup"] + "\n" + job["tests"], "tests.py", "exec"), tests)
    if entry and tests.get("check") is not before.get("check"):
        tests["check"](candidate)
    for name, value in list(tests.items()):
        if name.startswith("test") and callable(value) and value is not before.get(name):
            value()
    os.write(RESULT, token)
    os._exit(0)


def _plainly(function: Any, kept: dict[str, Any]) -> Callable[..., Any]:
    """The function, refusing results that are not plain, whose ``__eq__`` it could have written,
    and undoing what it does to builtins."""

    def candidate(*arguments: Any, **named: Any) -> Any:
        returned = function(*arguments, **named)
        _restore(kept)
        return plain.copied(returned)

    return candidate


def _restore(kept: dict[str, Any]) -> None:
    builtins.__dict__.clear()
    builtins.__dict__.update(kept)


def _leave(value: Any) -> None:
    import json  # noqa: PLC0415  what `preload` has imported

    data = json.dumps(plain.encoded(value), ensure_ascii=True).encode("ascii")
    write_all(RESULT, data)
    os._exit(0)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``, however much one call takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
