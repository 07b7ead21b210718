"""Unit tests as datasets of programming problems lay them out.

{"inputs": [...], "outputs": [...]}                    programs: stdin and stdout
{"inputs": [...], "outputs": [...], "fn_name": "f"}    calls, with arguments as JSON
[{"input": ..., "output": ..., "testtype": ...}, ...]  either
["assert f(1) == 2", ...], "def check(candidate): ...", "def test_f(): ..."
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from rlvr.rewards.unit_tests.assertions import Source, UnreadableTests, Value, from_source
from rlvr.types import Problem

_COLUMNS = (
    *("unit_tests", "tests", "test_cases", "input_output", "test_list", "test", "assert_case"),
    *("functional", "public_tests", "private_tests", "generated_tests"),
)
"""Columns that hold tests, in the order of the search; the last three belong together."""
_TOGETHER = ("public_tests", "private_tests", "generated_tests")
_FUNCTION = ("fn_name", "func_name", "function_name", "entry_point")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOutput:
    """A program must print ``stdout`` when it reads ``stdin``."""

    stdin: str
    stdout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """A function must return ``expected``, up to what JSON can tell apart."""

    name: str
    arguments: tuple[Any, ...]
    expected: Any
    wrapped: bool = False
    """Whether ``expected`` may be the only item of a list that the dataset put around it."""


UnitTest = InputOutput | CallResult | Value | Source


def read(problem: Problem, column: str = "") -> tuple[UnitTest, ...]:
    """The tests of a problem: from ``column`` of its extra columns, else from the first of those
    that usually hold them, else from its answer.

    Raises:
        UnreadableTests: there are none, or their layout is not known.
    """
    extra = problem.extra
    found = [column] if column else [name for name in _COLUMNS if extra.get(name)]
    if column and not extra.get(column):
        raise UnreadableTests(f"the column {column!r} is missing or empty; there are {list(extra)}")
    if found and found[0] in _TOGETHER:
        tests = [test for name in found for test in _read(extra[name], extra)]
    elif found:
        tests = list(_read(extra[found[0]], extra))
    else:
        tests = list(_read(problem.answer, extra))
    if not tests:
        raise UnreadableTests("there is no test")
    return tuple(tests)


def imports(tests: Iterable[UnitTest]) -> set[str]:
    """Top-level packages that the tests themselves import."""
    sources = {test.setup for test in tests if isinstance(test, Value | Source)}
    sources |= {test.tests for test in tests if isinstance(test, Source)}
    names: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return names


def _read(held: Any, extra: Mapping[str, Any]) -> Iterator[UnitTest]:
    if isinstance(held, str):
        try:
            held = json.loads(held)
        except ValueError:
            yield from from_source(held, name=_function(extra), setup=_setup(extra))
            return
    if isinstance(held, Mapping):
        yield from _of_mapping(cast(Mapping[str, Any], held), extra)
    elif _is_list(held) and all(isinstance(item, str) for item in held):
        source = "\n".join(held)
        yield from from_source(source, name=_function(extra), setup=_setup(extra))
    elif _is_list(held) and all(isinstance(item, Mapping) for item in held):
        for item in cast(Sequence[Mapping[str, Any]], held):
            yield from _of_mapping(item, extra)
    else:
        raise UnreadableTests(
            f"tests of type {type(held).__name__} that are neither JSON nor source: "
            f"{str(held)[:100]!r}"
        )


def _of_mapping(held: Mapping[str, Any], extra: Mapping[str, Any]) -> Iterator[UnitTest]:
    for key in ("functional", "assert_case", "test_list", "asserts", "test_code"):
        if held.get(key):
            yield from _read(held[key], {**extra, **held})
            return
    for given, wanted in (("inputs", "outputs"), ("input", "output")):
        if given in held and wanted in held:
            break
    else:
        raise UnreadableTests(
            f"a mapping with the keys {sorted(held)}; known are inputs with outputs, input with "
            "output, functional, assert_case, test_list, asserts and test_code"
        )
    inputs, outputs = held[given], held[wanted]
    if given == "input" and not (_is_list(inputs) and _is_list(outputs)):
        inputs, outputs = [inputs], [outputs]
    if not (_is_list(inputs) and _is_list(outputs)) or len(inputs) != len(outputs):
        raise UnreadableTests(f"{given} and {wanted} are no two lists of one length")
    kind = str(held.get("testtype") or held.get("type") or "")
    name = "" if kind.startswith("std") else _function(held) or _function(extra)
    if kind.startswith("func") and not name:
        raise UnreadableTests(f"a test of a function without its name ({', '.join(_FUNCTION)})")
    wrapped = given == "inputs" and all(_is_list(wanted) and len(wanted) == 1 for wanted in outputs)
    for given, wanted in zip(inputs, outputs, strict=True):
        yield _call(name, given, wanted, wrapped) if name else _program(given, wanted)


def _program(given: Any, wanted: Any) -> InputOutput:
    lines = ["\n".join(map(str, text)) if _is_list(text) else str(text) for text in (given, wanted)]
    return InputOutput(stdin=lines[0], stdout=lines[1])


def _call(name: str, given: Any, wanted: Any, wrapped: bool) -> CallResult:
    try:
        if isinstance(given, str):
            given = [json.loads(line) for line in given.split("\n") if line.strip()]
        if isinstance(wanted, str):
            wanted = _json_or_text(wanted)
    except ValueError as e:
        raise UnreadableTests(f"arguments of {name} are no JSON, one to a line: {e}") from e
    arguments = tuple(given) if _is_list(given) else (given,)
    return CallResult(name=name, arguments=arguments, expected=wanted, wrapped=wrapped)


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _function(held: Mapping[str, Any]) -> str:
    for key in _FUNCTION:
        if isinstance(held.get(key), str) and held[key]:
            return str(held[key])
    metadata = held.get("metadata")
    if isinstance(metadata, str):
        metadata = _json_or_text(metadata)
    return _function(cast(Mapping[str, Any], metadata)) if isinstance(metadata, Mapping) else ""


def _setup(extra: Mapping[str, Any]) -> str:
    imported = extra.get("test_imports") or ""
    if _is_list(imported):
        imported = "\n".join(map(str, cast(Sequence[Any], imported)))
    return f"{imported}\n{extra.get('test_setup_code') or ''}".strip()


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
