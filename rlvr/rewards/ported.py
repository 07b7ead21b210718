"""Loads a reward from what a recipe names.

Either a plug-in node, ``{_target_: rlvr.rewards.math.Math, form: box}``, or a function in a file,
``path/to/file.py:function``. Functions written for verl, TRL or OpenRLHF run unchanged; their
convention is told by the names of their parameters (``rewards.styles``).
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from rlvr import plugin
from rlvr.rewards.base import Reward
from rlvr.rewards.styles import RewardSpecError, adapt, recognise
from rlvr.types import Problem, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of a loaded reward, for the log and for the self-test."""

    name: str
    style: str
    """``plug-in``, ``native``, ``verl``, ``TRL`` or ``OpenRLHF``."""
    maximum: float | None
    """The reward of a right answer; None where only its author knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A reward, ready to be called, and what is known of it."""

    reward: Reward
    about: About

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return self.reward(problem, text)

    def example(self, answer: str) -> str | None:
        """A text that gives ``answer`` as the reward wants it; None where it does not say."""
        example = getattr(self.reward, "example", None)
        return None if example is None else example(answer)


def load(spec: object) -> Loaded:
    """The reward that a plug-in node or ``path/to/file.py:function`` names.

    Raises:
        RewardSpecError: what is wrong with it, and the remedy.
    """
    try:
        if isinstance(spec, str):
            return _ported(_function(spec), spec)
        if isinstance(spec, Mapping) and "_target_" in spec:
            return _plug_in(dict(cast(Mapping[str, Any], spec)))
    except plugin.PluginError as e:
        raise RewardSpecError(f"reward={spec!r}: {e}{_source_of(e.__cause__)}") from e
    raise RewardSpecError(
        f"reward={spec!r} names nothing; write path/to/file.py:function, or a node with the key "
        "_target_ such as {_target_: rlvr.rewards.math.Math}"
    )


def _plug_in(node: dict[str, Any]) -> Loaded:
    path = str(node["_target_"])
    target = plugin.locate(path)
    if not inspect.isclass(target):
        settings = {key: value for key, value in node.items() if key != "_target_"}
        return _ported(partial(target, **settings) if settings else target, path)
    try:
        reward = plugin.build(node)
    except plugin.PluginError:
        raise
    except (TypeError, ValueError) as e:
        raise RewardSpecError(f"reward={path}: {e}") from e
    if not callable(reward):
        raise RewardSpecError(
            f"reward={path}: its instances cannot be called; give the class a method "
            "__call__(self, problem, text) -> Verdict"
        )
    about = About(
        name=path.rpartition(".")[2], style="plug-in", maximum=getattr(reward, "maximum", None)
    )
    return Loaded(reward=cast(Reward, reward), about=about)


def _ported(function: Callable[..., Any], name: str) -> Loaded:
    style = recognise(function, name)
    short = name.rpartition("/")[2]
    about = About(name=short, style=style.name, maximum=None)
    return Loaded(reward=adapt(function, style, short), about=about)


def _function(spec: str) -> Callable[..., Any]:
    file, colon, name = spec.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise RewardSpecError(
            f"reward={spec!r} names no function; write path/to/file.py:function, such as "
            "recipes/reward_example.py:score"
        )
    path = Path(file).resolve()
    sys.path.insert(0, str(path.parent))  # its neighbours are importable, as when it is run
    try:
        function = plugin.locate(f"{path}:{name}")
    except plugin.PluginError as e:
        if e.__cause__ is None:
            raise plugin.PluginError(f"{e}. {_what_there_is(path)}") from e
        raise
    if inspect.isclass(function):
        raise RewardSpecError(
            f"reward={spec!r}: {name} is a class; name it in a node with _target_, so that its "
            "arguments can be given"
        )
    return function


def _what_there_is(path: Path) -> str:
    """The functions of a file, or the files of its directory where there is no such file."""
    if path.is_file():
        body = ast.parse(path.read_bytes()).body
        names = [n.name for n in body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        return f"It has {', '.join(names) or 'no function'}"
    if not path.parent.is_dir():
        return "Nor is there that directory; a relative path starts where the run was started"
    files = sorted(p.name for p in path.parent.glob("*.py"))
    return f"That directory has {', '.join(files[:10]) or 'no .py file'}"


def _source_of(error: BaseException | None) -> str:
    return f": {(error.text or '').strip()!r}" if isinstance(error, SyntaxError) else ""
