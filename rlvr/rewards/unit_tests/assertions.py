"""Tests that are Python: assertions, ``check(candidate)`` and functions ``test*``.

A test whose expected value can be told from its source is taken apart, so that the value need not
enter the process of the code under test.
"""

from __future__ import annotations

import ast
import builtins
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class UnreadableTests(ValueError):
    """The tests of a problem are in no layout that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """An expression must have a value: exactly, or within what ``math.isclose`` takes."""

    expression: str
    setup: str
    expected: Any
    tolerance: Mapping[str, float] | None = None
    truth: bool = False
    """Whether only the truth of the value counts."""

    def accepts(self, value: Any) -> bool:
        """Whether a plain value is the expected one."""
        if self.truth:
            return bool(value) is self.expected
        if self.tolerance is None:
            return bool(value == self.expected)
        return isinstance(value, int | float) and math.isclose(
            value, self.expected, **self.tolerance
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Tests that must run beside what they test."""

    tests: str
    name: str
    setup: str


def from_source(source: str, *, name: str = "", setup: str = "") -> list[Value | Source]:
    """Tests from assertions, a function ``check`` that is given the function called ``name``, or
    functions ``test*``: the simple ones taken apart, the others as source.

    Raises:
        UnreadableTests: it is no Python, or asserts nothing.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as e:
        raise UnreadableTests(f"neither JSON nor Python ({e}): {source[:100]!r}") from e
    groups: list[tuple[ast.stmt, list[ast.stmt], str]] = []
    shared: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Assert):
            groups.append((node, [node], ""))
        elif isinstance(node, ast.FunctionDef) and (node.name == "check" or _is_test(node)):
            parameters = [a.arg for a in node.args.args]
            given = f"{parameters[0]} = {name}" if node.name == "check" and parameters else ""
            groups.append((node, node.body, given))
        else:
            shared.append(node)
    if not groups:
        raise UnreadableTests(f"source without assert, check or test*: {source[:100]!r}")
    setup = "\n".join(filter(None, [setup, *map(ast.unparse, shared)]))
    tests: list[Value | Source] = []
    left: list[ast.stmt] = []
    for whole, body, given in groups:
        simple = [_apart(node, "\n".join(filter(None, [setup, given]))) for node in body]
        if None in simple or (given and not name):
            left.append(whole)
        else:
            tests += [test for test in simple if isinstance(test, Value)]
    if left:
        tests.append(Source(tests="\n".join(map(ast.unparse, left)), name=name, setup=setup))
    return tests


def _is_test(node: ast.FunctionDef) -> bool:
    return node.name.startswith("test") and not node.args.args and not node.decorator_list


def _apart(node: ast.stmt, setup: str) -> Value | bool | None:
    """What a statement expects, False where it expects nothing, None where it must run."""
    if isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ):
        return False
    if not isinstance(node, ast.Assert):
        return None
    test = node.test
    if isinstance(test, ast.Constant) and test.value:
        return False
    negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    called = test.operand if isinstance(test, ast.UnaryOp) and negated else test
    if isinstance(called, ast.Call):
        close = None if negated else _close(called)
        if close is not None:
            inner, expected, tolerance = close
            return Value(
                expression=ast.unparse(inner), setup=setup, expected=expected, tolerance=tolerance
            )
        if isinstance(called.func, ast.Name) and not hasattr(builtins, called.func.id):
            expression = ast.unparse(called)
            return Value(expression=expression, setup=setup, expected=not negated, truth=True)
        return None
    return _compared(test, setup) if isinstance(test, ast.Compare) else None


def _compared(test: ast.Compare, setup: str) -> Value | None:
    if len(test.ops) != 1:
        return None
    left, right, operator = test.left, test.comparators[0], test.ops[0]
    if isinstance(operator, ast.Eq | ast.Is):
        for inner, literal in ((left, right), (right, left)):
            known, expected = _literal(literal)
            if known and not _literal(inner)[0]:
                return Value(expression=ast.unparse(inner), setup=setup, expected=expected)
        return None
    # abs(f(x) - 1.5) < 1e-6
    if not isinstance(operator, ast.Lt | ast.LtE) or not isinstance(left, ast.Call):
        return None
    known, bound = _literal(right)
    is_abs = isinstance(left.func, ast.Name) and left.func.id == "abs" and len(left.args) == 1
    difference = left.args[0] if is_abs else None
    if not known or not isinstance(difference, ast.BinOp) or not isinstance(difference.op, ast.Sub):
        return None
    for inner, literal in (
        (difference.left, difference.right),
        (difference.right, difference.left),
    ):
        known, expected = _literal(literal)
        if known:
            return Value(
                expression=ast.unparse(inner),
                setup=setup,
                expected=expected,
                tolerance={"rel_tol": 0.0, "abs_tol": bound},
            )
    return None


def _close(call: ast.Call) -> tuple[ast.expr, Any, dict[str, float]] | None:
    """The parts of ``math.isclose(f(x), 1.5, rel_tol=1e-3)``."""
    named = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if named != "isclose" or len(call.args) != 2:
        return None
    tolerance = {keyword.arg or "": _literal(keyword.value)[1] for keyword in call.keywords}
    known, expected = _literal(call.args[1])
    if not known or not set(tolerance) <= {"rel_tol", "abs_tol"} or None in tolerance.values():
        return None
    return call.args[0], expected, tolerance


def _literal(node: ast.expr) -> tuple[bool, Any]:
    try:
        return True, ast.literal_eval(node)
    except ValueError:
        return False, None
