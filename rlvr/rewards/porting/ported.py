"""Loads a reward from what a recipe names.

    {_target_: rlvr.rewards.math.Math, form: box}             a plug-in
    path/to/file.py:function                                  a function of any known convention
    {path: path/to/file.py:function, style: TRL, kwargs: {}}  the same, with what is said of it

Functions written for verl, TRL, OpenRLHF, AReaL, slime or verifiers run unchanged, and so does a
``Rubric`` of verifiers that the file holds under that name. The convention is told by the names
of the parameters (``rewards.porting.styles``) unless ``style`` names it; ``kwargs`` are passed as
they are.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from rlvr import plugin
from rlvr.rewards.base import OTHERS, Reward
from rlvr.rewards.porting.foreign import Ported, Rubric, is_rubric, rubric
from rlvr.rewards.porting.styles import RewardSpecError, recognise
from rlvr.types import Problem, Verdict

_NODE = ("path", "style", "kwargs")


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of a loaded reward, for the log and for the self-test."""

    name: str
    style: str
    """``plug-in``, ``verifiers-rubric``, or the name of one of ``styles.STYLES``."""
    maximum: float | None
    """The reward of a right answer; None where only its author knows."""
    exemplified: bool = False
    """It can say how a right answer looks."""
    batched: bool = False
    """One call grades all rollouts of a problem, and may compare them."""
    routes: Mapping[str, str] = field(default_factory=dict[str, str])
    """``Problem.source`` -> name of what judges it; empty where one rule judges all."""

    def judge_of(self, problem: Problem) -> str:
        """Name of what judges ``problem``."""
        return self.routes.get(problem.source, self.routes.get(OTHERS, self.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A reward, ready to be called, and what is known of it."""

    reward: Reward
    about: About

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return self.grade(problem, [text])[0]

    def grade(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """One verdict per text, in order; a batched reward sees all of them in one call."""
        if isinstance(self.reward, Ported | Rubric):
            return self.reward.grade(problem, texts)
        return [self.reward(problem, text) for text in texts]

    def key(self, problem: Problem, text: str) -> str | None:
        """What of ``text`` its verdict rests on; None where the reward does not say."""
        key = getattr(self.reward, "key", None)
        return None if key is None else key(problem, text)

    def example(self, problem: Problem) -> str | None:
        """A right answer as the reward wants to see it; None where it does not say."""
        example = getattr(self.reward, "example", None)
        return None if example is None else example(problem)


def load(spec: object) -> Loaded:
    """The reward that a plug-in node or ``path/to/file.py:function`` names.

    Raises:
        RewardSpecError: what is wrong with it, and the remedy.
    """
    try:
        if isinstance(spec, str):
            return _ported(_found(spec), spec)
        if isinstance(spec, Mapping):
            node = dict(cast(Mapping[str, Any], spec))
            if "_target_" in node:
                return _plug_in(node)
            if "path" in node:
                return _described(node)
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
        return _ported(_with(target, settings, path), path)
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
        name=path.rpartition(".")[2],
        style="plug-in",
        maximum=getattr(reward, "maximum", None),
        exemplified=hasattr(reward, "example"),
        routes=dict(getattr(reward, "routes", {})),
    )
    return Loaded(reward=cast(Reward, reward), about=about)


def _described(node: dict[str, Any]) -> Loaded:
    path, kwargs = str(node["path"]), cast(object, node.get("kwargs") or {})
    if other := [key for key in node if key not in _NODE]:
        raise RewardSpecError(
            f"reward={path}: there is no setting {other[0]!r}{plugin.nearest(other[0], _NODE)}; "
            f"set {', '.join(_NODE)}, and give what the function itself takes in kwargs"
        )
    if not isinstance(kwargs, Mapping):
        raise RewardSpecError(
            f"reward={path}: kwargs={kwargs!r} is no mapping; write kwargs: {{name: value}}"
        )
    settings = dict(cast(Mapping[str, Any], kwargs))
    return _ported(_with(_found(path), settings, path), path, str(node.get("style") or ""))


def _with(function: Any, settings: dict[str, Any], name: str) -> Any:
    """The function with some of its arguments given."""
    if not settings:
        return function
    try:
        inspect.signature(function).bind_partial(**settings)
    except TypeError as e:
        raise RewardSpecError(
            f"reward={name}: {e}; it takes {', '.join(inspect.signature(function).parameters)}"
        ) from e
    return partial(function, **settings)


def _ported(found: Any, name: str, style: str = "") -> Loaded:
    short = name.rpartition("/")[2]
    if is_rubric(found):
        if style:
            raise RewardSpecError(
                f"reward={name}: it is a rubric, whose functions are verifiers'; remove style"
            )
        whole = rubric(found, short)
        about = About(name=short, style="verifiers-rubric", maximum=None, batched=whole.batched)
        return Loaded(reward=whole, about=about)
    known = recognise(found, name, style)
    about = About(name=short, style=known.name, maximum=None, batched=known.batched)
    return Loaded(reward=Ported(function=found, style=known, name=short), about=about)


def _found(spec: str) -> Any:
    """The function or the rubric that a file holds."""
    file, colon, name = spec.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise RewardSpecError(
            f"reward={spec!r} names no function; write path/to/file.py:function, such as "
            "recipes/reward_example.py:score"
        )
    path = Path(file).expanduser().resolve()
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # its neighbours are importable, as when it is run
    target = f"{path}:{name}"
    try:
        found = plugin.attribute(target)
        if not callable(found) and not is_rubric(found):
            plugin.locate(target)  # says what is wrong with it
    except plugin.PluginError as e:
        if e.__cause__ is None:
            raise plugin.PluginError(f"{e}. {_what_there_is(path)}") from e
        raise
    if inspect.isclass(found):
        raise RewardSpecError(
            f"reward={spec!r}: {name} is a class; name it in a node with _target_, so that its "
            "arguments can be given"
        )
    return found


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
